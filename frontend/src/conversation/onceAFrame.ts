// Throttling of values that change faster than the page is drawn.

/** Return a function that passes only the latest value on, once a frame. Pages that are not visible draw no frames. */
export function onceAFrame<T>(apply: (value: T) => void): { write: (value: T) => void; cancel: () => void } {
    let frame: number | null = null
    let latest: T

    function write(value: T): void {
        latest = value
        frame ??= requestAnimationFrame(() => {
            frame = null
            apply(latest)
        })
    }

    function cancel(): void {
        if (frame !== null) cancelAnimationFrame(frame)
        frame = null
    }

    return { write, cancel }
}
