// Pause before a connection is tried again.

const FIRST_DELAY = 500
const MAX_DELAY = 15_000

/** Return the delay before an attempt in milliseconds: twice as long each time, with jitter. The first one is short. */
export function retryDelay(attempt: number, retryAfter: number | null): number {
    const delay = Math.min(FIRST_DELAY * 2 ** (attempt - 1), MAX_DELAY) * (0.75 + Math.random() / 2)
    return Math.max(delay, (retryAfter ?? 0) * 1000)
}

/** Wait before an attempt. Ends early when the browser is online again, the page becomes visible, or at an abort. */
export function retryPause(attempt: number, retryAfter: number | null, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
        const ended = new AbortController()
        const timer = setTimeout(end, retryDelay(attempt, retryAfter))
        function end(): void {
            clearTimeout(timer)
            ended.abort()
            resolve()
        }
        if (signal.aborted) return end()
        signal.addEventListener('abort', end, { signal: ended.signal })
        // A service that asks for a longer pause gets it.
        if (retryAfter !== null) return
        window.addEventListener('online', end, { signal: ended.signal })
        document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && end(), {
            signal: ended.signal,
        })
    })
}
