// Messages between the tabs of a browser about changed sessions.

import type { Session } from './cursorList'

export type TabMessage =
    | { kind: 'changed'; session: Session }
    | { kind: 'removed'; ids: string[] }
    /** Much has changed: the lists are to be read again. */
    | { kind: 'reload' }

const channel = new BroadcastChannel('chat-sessions')

/** Return whether this version of the page knows a message. Another tab may have another version. */
function isTabMessage(data: Partial<Record<'kind' | 'session' | 'ids', unknown>> | null): boolean {
    if (data?.kind === 'changed') return typeof (data.session as Session | null)?.session_id === 'string'
    if (data?.kind === 'removed') return Array.isArray(data.ids)
    return data?.kind === 'reload'
}

/** Send a message to the other tabs. */
export function announce(message: TabMessage): void {
    // Reactive objects cannot be cloned.
    channel.postMessage(JSON.parse(JSON.stringify(message)))
}

/** Call a function for each message of another tab. */
export function onTabMessage(listener: (message: TabMessage) => void): void {
    channel.addEventListener('message', ({ data }: MessageEvent<TabMessage>) => {
        if (isTabMessage(data)) listener(data)
    })
}
