// Proof that an answer is complete: its length and SHA-256, which the terminal event of its stream carries.

import type { MessageEndedEvent } from '@/api/generated/chat'
import { codePointLength } from './codePoints'

/**
 * How an answer was checked. `length`: by length and by comparison with the stored message, because pages that are
 * neither HTTPS nor on localhost cannot compute a hash. `mismatch`: the text differs from the stored one.
 */
export type ProofResult = 'hash' | 'length' | 'mismatch'

async function sha256(text: string): Promise<string | null> {
    if (!globalThis.crypto?.subtle) return null
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** Compare the text that was read with the length and hash of the stored answer. */
export async function prove(text: string, end: MessageEndedEvent): Promise<ProofResult> {
    if (codePointLength(text) !== end.length) return 'mismatch'
    const digest = await sha256(text)
    if (digest !== null) return digest === end.sha256 ? 'hash' : 'mismatch'
    return text === end.message.content ? 'length' : 'mismatch'
}
