import { describe, expect, it } from 'vitest'
import { compareSessions, groupSessions } from '@/stores/sessions/groups'
import { session } from './session'

const now = new Date(2026, 10, 30, 12)
const daysAgo = (days: number, hour = 12) => new Date(2026, 10, 30 - days, hour)

describe('groupSessions', () => {
    it('groups by the day of the reader, and by month before', () => {
        const sessions = [
            session('pinned', daysAgo(200), { is_pinned: true }),
            session('midnight', daysAgo(0, 0)),
            session('yesterday', daysAgo(1, 23)),
            session('week', daysAgo(7)),
            session('month', daysAgo(30)),
            session('october', new Date(2026, 9, 2)),
            session('october too', new Date(2026, 9, 1)),
            session('last year', new Date(2025, 9, 1)),
        ]
        const groups = groupSessions(sessions, now)
        expect(groups.map(({ key, sessions }) => [key, sessions.length])).toEqual([
            ['pinned', 1],
            ['today', 1],
            ['yesterday', 1],
            ['week', 1],
            ['days30', 1],
            ['2026-10', 2],
            ['2025-10', 1],
        ])
        expect(groups.at(-1)?.month).toEqual(new Date(2025, 9))
    })

    it('puts times in the future into today', () => {
        expect(groupSessions([session('later', daysAgo(-1))], now)[0]?.name).toBe('today')
    })
})

describe('compareSessions', () => {
    it('puts pinned sessions first, then the last used', () => {
        const sessions = [
            session('old', daysAgo(2)),
            session('new', daysAgo(0)),
            session('pinned', daysAgo(9), { is_pinned: true }),
        ]
        expect(sessions.sort(compareSessions).map((each) => each.session_id)).toEqual(['pinned', 'new', 'old'])
    })
})
