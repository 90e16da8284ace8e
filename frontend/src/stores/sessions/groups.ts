// Groups of the list of sessions: pinned ones, then by the date of the last question or answer.

import { timeOf, type Session } from './cursorList'

/** `month` groups have the first day of their month. */
export type GroupName = 'pinned' | 'today' | 'yesterday' | 'week' | 'days30' | 'month'

export interface SessionGroup {
    key: string
    name: GroupName
    month: Date | null
    sessions: Session[]
}

/** Order of the list: pinned sessions first, each part with the last used first. */
export function compareSessions(a: Session, b: Session): number {
    const byPin = Number(b.is_pinned) - Number(a.is_pinned)
    return byPin || timeOf(b) - timeOf(a) || (a.session_id < b.session_id ? 1 : -1)
}

/** Return the groups of sessions that are in the order of the list. Days are those of the reader's time zone. */
export function groupSessions(sessions: Session[], now: Date = new Date()): SessionGroup[] {
    const groups: SessionGroup[] = []
    const daysAgo = (days: number) => new Date(now.getFullYear(), now.getMonth(), now.getDate() - days).getTime()
    const starts: [GroupName, number][] = [
        ['today', daysAgo(0)],
        ['yesterday', daysAgo(1)],
        ['week', daysAgo(7)],
        ['days30', daysAgo(30)],
    ]
    for (const session of sessions) {
        const time = timeOf(session)
        const name = session.is_pinned ? 'pinned' : (starts.find(([, start]) => time >= start)?.[0] ?? 'month')
        const month = name === 'month' ? startOfMonth(time) : null
        const key = month ? `${month.getFullYear()}-${month.getMonth() + 1}` : name
        const last = groups.at(-1)
        if (last?.key === key) last.sessions.push(session)
        else groups.push({ key, name, month, sessions: [session] })
    }
    return groups
}

function startOfMonth(time: number): Date {
    const date = new Date(time)
    return new Date(date.getFullYear(), date.getMonth())
}
