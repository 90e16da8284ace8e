// The question that this tab is sending. It survives a reload, and is then sent again with the same key.

import type { MessageCreate, SessionCreate } from '@/api/generated/chat'

export interface OutgoingQuestion {
    /** null: the session is created first. */
    sessionId: string | null
    /** Idempotency key of the question. */
    key: string
    question: MessageCreate
    /** Idempotency key and body of the creation of the session. */
    creation?: { key: string; body: SessionCreate }
}

const STORAGE_KEY = 'outgoing-question'

export function keepOutgoing(outgoing: OutgoingQuestion): void {
    try {
        sessionStorage.setItem(STORAGE_KEY, JSON.stringify(outgoing))
    } catch {
        // The storage is full or disabled: then a reload before the question arrives loses it.
    }
}

function stored(): OutgoingQuestion | null {
    return JSON.parse(sessionStorage.getItem(STORAGE_KEY) ?? 'null') as OutgoingQuestion | null
}

/** Forget a question that has arrived or was given back, unless another one is being sent meanwhile. */
export function clearOutgoing(key: string): void {
    if (stored()?.key === key) sessionStorage.removeItem(STORAGE_KEY)
}

/** Return the question for a session that was being sent when the page was left. */
export function outgoingQuestion(sessionId: string | null): OutgoingQuestion | null {
    const outgoing = stored()
    return outgoing?.sessionId === sessionId ? outgoing : null
}
