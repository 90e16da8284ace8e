import type { ShareResponse } from '@/api/generated/chat'

/** Return the link of a share, at the address at which the user sees this application. */
export function linkOf(share: ShareResponse): string {
    return `${location.origin}/shared#token=${share.token}`
}
