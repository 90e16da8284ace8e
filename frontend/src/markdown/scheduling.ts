// Time of the next frame, also in tabs that are not visible, where the browser draws no frames.

const HIDDEN_DELAY = 200

/** Resolve at the next frame after a time, as of `performance.now()`. */
export function nextFrame(earliest = 0): Promise<void> {
    return new Promise((resolve) => {
        const wait = earliest - performance.now()
        if (wait > 0) {
            setTimeout(() => resolve(nextFrame()), wait)
            return
        }
        const frame = requestAnimationFrame(() => {
            clearTimeout(timer)
            resolve()
        })
        const timer = setTimeout(() => {
            cancelAnimationFrame(frame)
            resolve()
        }, HIDDEN_DELAY)
    })
}
