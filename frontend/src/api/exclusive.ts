// Mutual exclusion of the tabs of this browser.

let last: Promise<unknown> = Promise.resolve()

/**
 * Run a task while no other task of this function runs, in this tab or another.
 *
 * Browsers have locks for several tabs on secure origins only. Elsewhere (plain HTTP on a local network) the tasks of
 * this tab alone are run one after another. Two tabs may then refresh at the same time, which the service tolerates: a
 * refresh token that was used gets the same successor until that is used.
 */
export function exclusively<T>(task: () => Promise<T>): Promise<T> {
    const locks = navigator.locks as LockManager | undefined
    if (locks) return locks.request('session', task) as Promise<T>
    const result = last.then(task)
    last = result.catch(() => undefined)
    return result
}
