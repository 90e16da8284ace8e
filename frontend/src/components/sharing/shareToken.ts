// Token of a shared conversation. It is in the fragment of the address, which browsers do not send to the server.

import type { ShareResponse } from '@/api/generated/chat'

const PENDING_KEY = 'pending-share-copy'

/** Return the link of a share, at the address at which the user sees this application. */
export function linkOf(share: ShareResponse): string {
    return `${location.origin}/shared#token=${share.token}`
}

/** Return the token in a fragment (`#token=…`); null if it cannot be one. */
export function tokenOfHash(hash: string): string | null {
    const token = new URLSearchParams(hash.replace(/^#/, '')).get('token') ?? ''
    return /^[\w-]{16,200}$/.test(token) ? token : null
}

/** Keep a token while the user logs in to copy its conversation. It ends with the tab. */
export function keepPendingToken(token: string): void {
    sessionStorage.setItem(PENDING_KEY, token)
}

/** Return the token that was kept, once. */
export function takePendingToken(): string | null {
    const token = sessionStorage.getItem(PENDING_KEY)
    sessionStorage.removeItem(PENDING_KEY)
    return token
}
