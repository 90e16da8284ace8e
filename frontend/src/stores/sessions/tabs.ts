// Messages between the tabs of a browser about changed sessions.

import type { Session } from './cursorList'

export type TabMessage =
    | { kind: 'changed'; session: Session }
    | { kind: 'removed'; ids: string[] }
    /** Much has changed: the lists are to be read again. */
    | { kind: 'reload' }

const channel = new BroadcastChannel('chat-sessions')

/** Send a message to the other tabs. */
export function announce(message: TabMessage): void {
    // Reactive objects cannot be cloned.
    channel.postMessage(JSON.parse(JSON.stringify(message)))
}

/** Call a function for each message of another tab. */
export function onTabMessage(listener: (message: TabMessage) => void): void {
    channel.addEventListener('message', ({ data }: MessageEvent<TabMessage>) => listener(data))
}
