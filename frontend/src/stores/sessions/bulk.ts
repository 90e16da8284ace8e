// Operations on many sessions. The service takes a limited number of ids, and may need several requests for all.

import { archiveSessions, deleteSessions, type SessionSelection, type SessionsChanged } from '@/api/generated/chat'

/** `all`: every session, archived ones included. */
export type Selection = string[] | 'all'

/** The most ids that a request may have. */
const MAX_IDS = 1000

export async function deleteMany(selection: Selection): Promise<void> {
    await repeat(selection, (body) => deleteSessions({ body }))
}

export async function archiveMany(selection: Selection, archived: boolean): Promise<void> {
    await repeat(selection, (body) => archiveSessions({ body: { ...body, archived } }))
}

async function repeat(selection: Selection, send: (body: SessionSelection) => Promise<SessionsChanged>): Promise<void> {
    for (const body of bodiesOf(selection)) {
        while (!(await send(body)).is_complete);
    }
}

function bodiesOf(selection: Selection): SessionSelection[] {
    if (selection === 'all') return [{ all: true }]
    return Array.from({ length: Math.ceil(selection.length / MAX_IDS) }, (_, part) => ({
        session_ids: selection.slice(part * MAX_IDS, (part + 1) * MAX_IDS),
    }))
}
