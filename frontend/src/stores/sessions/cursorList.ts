// A list of sessions that is read in parts, by cursor, and whose beginning can be read again.

import type { SessionList, SessionSummary } from '@/api/generated/chat'

/** A session, with what the service's lists and details have in common. */
export type Session = Omit<SessionSummary, 'last_message_preview' | 'last_message_timestamp'>

export type ReadPart = (cursor: string | null, size: number) => Promise<SessionList>

/** Of the first part, which fills a screen. */
const FIRST_SIZE = 50
/** The largest part that the service returns. */
const MAX_SIZE = 100

/** Long lists are sorted often, so that times are parsed once. */
const times = new WeakMap<Session, number>()

/** Return the time of the last question or answer, in milliseconds since 1970. */
export function timeOf(session: Session): number {
    const time = times.get(session) ?? Date.parse(session.updated_at)
    times.set(session, time)
    return time
}

export class CursorList {
    /** Times of the sessions that were read, by id. */
    private readonly times = new Map<string, number>()
    /** Time of the last session that was read: the list is known down to it. */
    private knownSince = Number.POSITIVE_INFINITY
    private cursor: string | null = null
    private isStarted = false

    constructor(private readonly read: ReadPart) {}

    get hasMore(): boolean {
        return !this.isStarted || this.cursor !== null
    }

    /** Return whether a session was read as part of this list. */
    has(id: string): boolean {
        return this.times.has(id)
    }

    /** Return whether a session has its place in the part of the list that is known. */
    covers(session: Session): boolean {
        return this.times.has(session.session_id) || timeOf(session) > this.knownSince
    }

    /** Read the next part. */
    async readNext(): Promise<Session[]> {
        const part = await this.read(this.cursor, this.isStarted ? MAX_SIZE : FIRST_SIZE)
        this.append(part)
        return part.sessions
    }

    /** Read the beginning again. `gone` are ids of sessions that were in this part of the list, and no longer are. */
    async readAgain(): Promise<{ sessions: Session[]; gone: string[] }> {
        const part = await this.read(null, Math.min(Math.max(this.times.size, FIRST_SIZE), MAX_SIZE))
        const { sessions } = part
        const isWhole = part.next_cursor === null
        const end = isWhole ? Number.NEGATIVE_INFINITY : Math.min(...sessions.map(timeOf))
        const ids = new Set(sessions.map((session) => session.session_id))
        const gone = [...this.times].filter(([id, time]) => time > end && !ids.has(id)).map(([id]) => id)
        // If only new sessions came, others may lie between them and the part that is known, which is dropped.
        if (isWhole || !sessions.some((session) => this.times.has(session.session_id))) {
            this.times.clear()
            this.append(part)
        } else {
            for (const id of gone) this.times.delete(id)
            for (const session of sessions) this.times.set(session.session_id, timeOf(session))
        }
        return { sessions, gone }
    }

    private append(part: SessionList): void {
        for (const session of part.sessions) this.times.set(session.session_id, timeOf(session))
        const last = part.sessions.at(-1)
        this.isStarted = true
        this.cursor = part.next_cursor
        if (part.next_cursor === null) this.knownSince = Number.NEGATIVE_INFINITY
        else if (last) this.knownSince = timeOf(last)
    }
}
