// Channel and locks that tabs of one browser share.

/** Channel that delivers messages to the other tabs at once. */
export class Channel extends EventTarget {
    static open: Channel[] = []

    constructor() {
        super()
        Channel.open.push(this)
    }

    postMessage(data: unknown): void {
        for (const other of Channel.open)
            if (other !== this) other.dispatchEvent(new MessageEvent('message', { data: structuredClone(data) }))
    }

    /** A tab that is asleep receives nothing. */
    static sleep(): Channel | undefined {
        return Channel.open.pop()
    }
}

export function lockManager() {
    let last: Promise<unknown> = Promise.resolve()
    return {
        request<T>(_name: string, task: () => Promise<T>): Promise<T> {
            const result = last.then(task)
            last = result.catch(() => undefined)
            return result
        },
    }
}
