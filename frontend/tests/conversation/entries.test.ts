import { expect, it } from 'vitest'
import type { BranchMessage } from '@/api/generated/chat'
import {
    entryOf,
    isActive,
    lastAnswer,
    localMessage,
    mergeNewestPage,
    neighbourOf,
    replaceMessage,
    updateEntries,
} from '@/conversation/entries'

function message(id: string, changes: Partial<BranchMessage> = {}): BranchMessage {
    const siblings = { index: 0, count: 1, ids: [id] }
    return { ...localMessage('assistant', `Text of ${id}`, null), id, status: 'complete', siblings, ...changes }
}

const messages = ['a', 'b', 'c', 'd', 'e'].map((id) => message(id))

function ids(entries: { message: BranchMessage }[]): string[] {
    return entries.map((entry) => entry.message.id)
}

it('keeps the entries of messages that are shown', () => {
    const shown = messages.map(entryOf)
    const before = shown.map((entry) => entry.message)
    const updated = updateEntries(shown, messages)
    expect(updated).toEqual(shown)
    expect(updated.every((entry, index) => entry === shown[index] && entry.message === before[index])).toBe(true)
})

it('updates a message that has changed', () => {
    const shown = messages.map(entryOf)
    const changed = message('c', { content: 'Changed' })
    expect(updateEntries(shown, [changed])[0]).toBe(shown[2])
    expect(shown[2]?.message.content).toBe('Changed')
})

it('does not take text back that was read from the stream', () => {
    const read = entryOf(message('e', { content: 'Much text', status: 'streaming' }))
    const [entry] = updateEntries([], [message('e', { content: '', status: 'streaming' })], read)
    expect(entry).toBe(read)
    expect(entry?.message.content).toBe('Much text')
})

it('keeps older entries that the newest page follows', () => {
    const shown = messages.map(entryOf)
    const page = { messages: [message('d'), message('x'), message('y')], has_older: true }
    const { entries, hasOlder } = mergeNewestPage(shown, page)
    expect(ids(entries)).toEqual(['a', 'b', 'c', 'd', 'x', 'y'])
    expect(hasOlder).toBeNull()
})

it('shows the newest page alone if it does not follow what is shown', () => {
    const page = { messages: [message('x'), message('y')], has_older: true }
    const { entries, hasOlder } = mergeNewestPage(messages.map(entryOf), page)
    expect(ids(entries)).toEqual(['x', 'y'])
    expect(hasOlder).toBe(true)
})

it('shows an empty page of a conversation whose messages were deleted', () => {
    expect(mergeNewestPage(messages.map(entryOf), { messages: [], has_older: false }).entries).toEqual([])
})

it('makes a version of a message the last one', () => {
    const version = localMessage('user', 'Edited', 'p', { index: 0, count: 2, ids: ['a', 'b'] })
    expect(version.siblings).toEqual({ index: 2, count: 3, ids: ['a', 'b', version.id] })
})

it('gives a local message the id of the service, among its versions too', () => {
    const entry = entryOf(localMessage('user', 'Question', null, { index: 0, count: 1, ids: ['a'] }))
    const { key } = entry
    replaceMessage(entry, { ...messages[1], role: 'user' } as BranchMessage)
    expect(entry.key).toBe(key)
    expect(entry.message.siblings).toEqual({ index: 1, count: 2, ids: ['a', 'b'] })
})

it('finds neighbours among versions', () => {
    const siblings = { index: 1, count: 3, ids: ['a', 'b', 'c'] }
    expect(neighbourOf(siblings, -1)).toBe('a')
    expect(neighbourOf(siblings, 1)).toBe('c')
    expect(neighbourOf({ ...siblings, index: 2 }, 1)).toBeNull()
    expect(neighbourOf({ ...siblings, index: 0 }, -1)).toBeNull()
})

it('finds the last answer that has ended', () => {
    const entries = [message('a'), message('b', { role: 'user' }), message('c', { status: 'streaming' })].map(entryOf)
    expect(lastAnswer(entries)?.message.id).toBe('a')
    expect(entries.map((entry) => isActive(entry.message))).toEqual([false, false, true])
})
