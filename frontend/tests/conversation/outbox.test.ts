// The question that is being sent belongs to the account that asked it.

import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, expect, it } from 'vitest'
import type { UserResponse } from '@/api/generated/auth'
import { clearOutgoing, keepOutgoing, outgoingQuestion } from '@/conversation/outbox'
import { useAccount } from '@/stores/account'
import { removeBrowserData } from '@/stores/browserData'

const outgoing = { sessionId: null, key: 'key-1', question: { message: 'A private question' } }

function logInAs(id: string): void {
    useAccount().user = { id } as UserResponse
}

beforeEach(() => {
    setActivePinia(createPinia())
    sessionStorage.clear()
    localStorage.clear()
    logInAs('user-1')
})

it('gives the question back after a reload, until it has arrived', () => {
    keepOutgoing(outgoing)
    expect(outgoingQuestion(null)).toEqual(outgoing)
    clearOutgoing('key-1')
    expect(outgoingQuestion(null)).toBeNull()
})

it('gives another account nothing', () => {
    keepOutgoing(outgoing)
    logInAs('user-2')
    expect(outgoingQuestion(null)).toBeNull()
})

it.each(['{', '1', '[]', '{"sessionId":null}'])('ignores the invalid value %s', (value) => {
    sessionStorage.setItem('outgoing-question', value)
    expect(outgoingQuestion(null)).toBeNull()
})

it('keeps nothing of an account after its logout', () => {
    keepOutgoing(outgoing)
    localStorage.setItem('drafts:user-1', '[]')
    localStorage.setItem('drafts:user-2', '[]')
    localStorage.setItem('model', 'large')
    localStorage.setItem('language', 'de')
    removeBrowserData()
    expect(Object.keys(sessionStorage)).toEqual([])
    expect(Object.keys(localStorage)).toEqual(['language'])
})
