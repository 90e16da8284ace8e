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
    return (
        Number(b.is_pinned) - Number(a.is_pinned) || timeOf(b) - timeOf(a) || b.session_id.localeCompare(a.session_id)
    )
}

/** Return the groups of sessions that are in the order of the list. Days are those of the reader's time zone. */
export function groupSessions(sessions: Session[], now: Date = new Date()): SessionGroup[] {
    const groups: SessionGroup[] = []
    for (const session of sessions) {
        const name = nameOf(session, now)
        const date = new Date(session.updated_at)
        const month = name === 'month' ? new Date(date.getFullYear(), date.getMonth()) : null
        const key = month ? `${month.getFullYear()}-${month.getMonth() + 1}` : name
        const last = groups.at(-1)
        if (last?.key === key) last.sessions.push(session)
        else groups.push({ key, name, month, sessions: [session] })
    }
    return groups
}

function nameOf(session: Session, now: Date): GroupName {
    if (session.is_pinned) return 'pinned'
    const time = timeOf(session)
    const daysAgo = (days: number) => new Date(now.getFullYear(), now.getMonth(), now.getDate() - days).getTime()
    if (time >= daysAgo(0)) return 'today'
    if (time >= daysAgo(1)) return 'yesterday'
    if (time >= daysAgo(7)) return 'week'
    if (time >= daysAgo(30)) return 'days30'
    return 'month'
}
