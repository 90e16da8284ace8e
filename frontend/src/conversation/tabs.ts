// Notices between tabs of this browser that a conversation has changed.

const channel = new BroadcastChannel('conversations')

interface ChangeNotice {
    sessionId: string
}

/** Tell the other tabs that the messages of a session have changed. */
export function announceChange(sessionId: string): void {
    channel.postMessage({ sessionId } satisfies ChangeNotice)
}

/** Call a function when another tab has changed a session. Returns a function that ends this. */
export function onChangeElsewhere(listener: (sessionId: string) => void): () => void {
    const receive = ({ data }: MessageEvent<ChangeNotice | null>) => {
        if (typeof data?.sessionId === 'string') listener(data.sessionId)
    }
    channel.addEventListener('message', receive)
    return () => channel.removeEventListener('message', receive)
}
