// Sessions for tests.

import type { SessionList, SessionSummary } from '@/api/generated/chat'
import type { Session } from '@/stores/sessions'

export function session(id: string, updatedAt: string | Date, changes: Partial<Session> = {}): SessionSummary {
    const updated_at = new Date(updatedAt).toISOString()
    return {
        session_id: id,
        title: `Title of ${id}`,
        title_source: 'user',
        model: null,
        is_archived: false,
        is_pinned: false,
        tags: [],
        created_at: updated_at,
        updated_at,
        message_count: 2,
        last_message_preview: null,
        last_message_timestamp: null,
        ...changes,
    }
}

/** The part of a list that the service would return: last used first, `cursor` is the number of sessions before it. */
export function partOf(sessions: SessionSummary[], cursor: string | null, size: number): SessionList {
    const sorted = [...sessions].sort((a, b) => b.updated_at.localeCompare(a.updated_at))
    const start = Number(cursor ?? 0)
    const next_cursor = start + size < sorted.length ? String(start + size) : null
    return { sessions: sorted.slice(start, start + size), pagination: null, next_cursor }
}
