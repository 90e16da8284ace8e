import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { retryDelay, retryPause } from '@/conversation/retryPause'

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

async function isOver(pause: Promise<void>): Promise<boolean> {
    await vi.advanceTimersByTimeAsync(0)
    return Promise.race([pause.then(() => true), Promise.resolve().then(() => Promise.resolve(false))])
}

it('doubles the delay up to a limit, and waits as long as the service asks', () => {
    expect(retryDelay(1, null)).toBeLessThan(1000)
    expect(retryDelay(3, null)).toBeGreaterThanOrEqual(1500)
    expect(retryDelay(50, null)).toBeLessThan(20_000)
    expect(retryDelay(1, 30)).toBe(30_000)
})

it('ends after the delay', async () => {
    const pause = retryPause(1, null, new AbortController().signal)
    expect(await isOver(pause)).toBe(false)
    await vi.advanceTimersByTimeAsync(1000)
    expect(await isOver(pause)).toBe(true)
})

it('ends when the browser is online again, unless the service asked to wait', async () => {
    const pause = retryPause(9, null, new AbortController().signal)
    const asked = retryPause(9, 60, new AbortController().signal)
    window.dispatchEvent(new Event('online'))
    expect(await isOver(pause)).toBe(true)
    expect(await isOver(asked)).toBe(false)
})

it('ends at an abort, before or during it', async () => {
    const controller = new AbortController()
    const pause = retryPause(9, 60, controller.signal)
    controller.abort()
    expect(await isOver(pause)).toBe(true)
    expect(await isOver(retryPause(9, 60, controller.signal))).toBe(true)
})
