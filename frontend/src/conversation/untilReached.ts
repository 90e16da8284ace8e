// Calls that are repeated until the service is reached.

import { ApiError } from '@/api/problem'
import { retryPause } from './retryPause'

/**
 * Repeat a call, which must be idempotent, while the network or the service is not available.
 *
 * @throws ApiError if the service refuses it, or the exception of the abort.
 */
export async function untilReached<T>(
    call: () => Promise<T>,
    onConnection: (isConnected: boolean) => void,
    signal: AbortSignal,
): Promise<T> {
    for (let attempt = 1; ; attempt++) {
        try {
            const result = await call()
            onConnection(true)
            return result
        } catch (error) {
            signal.throwIfAborted()
            if (!(error instanceof ApiError) || !error.isTransient || error.status === 429) throw error
            onConnection(false)
            await retryPause(attempt, error.retryAfter, signal)
            signal.throwIfAborted()
        }
    }
}
