// Settings of the chat on the page, which are those of its session.

import { createPinia, setActivePinia } from 'pinia'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { endEverywhere, logIn } from '@/api/tokens'
import { useChatSettings } from '@/stores/chatSettings'
import { useSessions } from '@/stores/sessions'

const session = { session_id: 's1', title: 'A chat', model: 'small', context: { tone: 'casual' } }
let requests: string[]

beforeEach(() => {
    setActivePinia(createPinia())
    requests = []
    vi.stubGlobal('fetch', (request: Request | string) => {
        const { pathname } = new URL(typeof request === 'string' ? request : request.url, 'http://localhost')
        requests.push(pathname)
        if (pathname.endsWith('/login')) return Promise.resolve(Response.json({ access_token: 'a', expires_in: 600 }))
        return Promise.resolve(Response.json(pathname.endsWith('/models') ? { models: [], max_tokens: 1 } : session))
    })
})
afterEach(() => vi.unstubAllGlobals())

it('are read together with the session, by one request', async () => {
    const settings = useChatSettings()
    await Promise.all([useSessions().load('s1'), settings.open('s1')])
    expect(requests.filter((path) => path.endsWith('/sessions/s1'))).toHaveLength(1)
    expect(settings.model).toBe('small')
    expect(settings.settings.tone).toBe('casual')
})

it('are read again when the chat is opened again', async () => {
    const settings = useChatSettings()
    await settings.open('s1')
    await settings.open('s1')
    expect(requests.filter((path) => path.endsWith('/sessions/s1'))).toHaveLength(2)
})

it('of a login that has ended are not shown to the next one', async () => {
    await logIn('ada', 'secret')
    const sessions = useSessions()
    const read = sessions.load('s1')
    endEverywhere('logout')
    await read
    expect(sessions.find('s1')).toBeUndefined()
})
