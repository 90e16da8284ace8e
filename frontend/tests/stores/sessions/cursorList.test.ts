import { expect, it } from 'vitest'
import type { SessionSummary } from '@/api/generated/chat'
import { CursorList } from '@/stores/sessions/cursorList'
import { partOf, session } from './session'

const at = (minute: number) => new Date(Date.UTC(2026, 0, 1, 0, minute))
const many = (count: number) => Array.from({ length: count }, (_, index) => session(`s${index}`, at(index)))

/** A list over sessions that the test may change. */
function listOf(stored: { sessions: SessionSummary[] }): CursorList {
    return new CursorList(async (cursor, size) => partOf(stored.sessions, cursor, size))
}

it('reads every session once', async () => {
    const list = listOf({ sessions: many(120) })
    const read: SessionSummary[] = []
    while (list.hasMore) read.push(...((await list.readNext()) as SessionSummary[]))
    expect(read).toHaveLength(120)
    expect(new Set(read.map((each) => each.session_id)).size).toBe(120)
})

it('covers what it has read, and what is newer than its end', async () => {
    const list = listOf({ sessions: many(120) })
    await list.readNext()
    expect(list.covers(session('s119', at(119)))).toBe(true)
    expect(list.covers(session('new', at(500)))).toBe(true)
    expect(list.covers(session('s3', at(3)))).toBe(false)
})

it('reports the sessions that were removed when its beginning is read again', async () => {
    const stored = { sessions: many(80) }
    const list = listOf(stored)
    await list.readNext()
    stored.sessions = stored.sessions.filter((each) => each.session_id !== 's70')
    const { gone, sessions } = await list.readAgain()
    expect(gone).toEqual(['s70'])
    expect(sessions).toHaveLength(50)
    expect(list.hasMore).toBe(true)
})

it('does not report a session that has moved to the top as removed', async () => {
    const stored = { sessions: many(30) }
    const list = listOf(stored)
    await list.readNext()
    stored.sessions = stored.sessions.map((each) => (each.session_id === 's2' ? session('s2', at(90)) : each))
    expect((await list.readAgain()).gone).toEqual([])
})

it('starts again if the new part does not overlap the known one', async () => {
    const stored = { sessions: many(60) }
    const list = listOf(stored)
    await list.readNext()
    stored.sessions = [...stored.sessions, ...Array.from({ length: 300 }, (_, i) => session(`n${i}`, at(100 + i)))]
    expect((await list.readAgain()).gone).toEqual([])
    expect(list.covers(session('s30', at(30)))).toBe(false)
    expect(list.hasMore).toBe(true)
})
