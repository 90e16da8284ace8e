// The question that this tab is sending. It survives a reload, and is then sent again with the same key, by the account
// that asked it and no other.

import type { MessageCreate, SessionCreate } from '@/api/generated/chat'
import { useAccount } from '@/stores/account'
import { OUTGOING_KEY } from '@/stores/browserData'

export interface OutgoingQuestion {
    /** null: the session is created first. */
    sessionId: string | null
    /** Idempotency key of the question. */
    key: string
    question: MessageCreate
    /** Idempotency key and body of the creation of the session. */
    creation?: { key: string; body: SessionCreate }
}

/** Kept beside the id of the account that asked it. */
interface StoredQuestion {
    accountId: string | null
    outgoing: OutgoingQuestion
}

function accountId(): string | null {
    return useAccount().user?.id ?? null
}

export function keepOutgoing(outgoing: OutgoingQuestion): void {
    try {
        sessionStorage.setItem(
            OUTGOING_KEY,
            JSON.stringify({ accountId: accountId(), outgoing } satisfies StoredQuestion),
        )
    } catch {
        // The storage is full or disabled: then a reload before the question arrives loses it.
    }
}

function stored(): OutgoingQuestion | null {
    try {
        const value = JSON.parse(sessionStorage.getItem(OUTGOING_KEY) ?? 'null') as StoredQuestion | null
        return value?.accountId === accountId() ? (value?.outgoing ?? null) : null
    } catch {
        return null
    }
}

/** Forget a question that has arrived or was given back, unless another one is being sent meanwhile. */
export function clearOutgoing(key: string): void {
    if (stored()?.key === key) sessionStorage.removeItem(OUTGOING_KEY)
}

/** Return the question for a session that was being sent when the page was left. */
export function outgoingQuestion(sessionId: string | null): OutgoingQuestion | null {
    const outgoing = stored()
    return outgoing?.sessionId === sessionId ? outgoing : null
}
