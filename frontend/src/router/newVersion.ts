// A page that was open during a deployment misses code that it has not loaded yet. It is loaded anew, once.

import type { Router } from 'vue-router'

const STORAGE_KEY = 'reloaded-at'
/** A failure this soon after a reload has another cause, in milliseconds. */
const MIN_INTERVAL = 60_000

/** Load the page anew when code cannot be loaded because there is a new version. Drafts are in the local storage. */
export function reloadForNewVersion(router: Router): void {
    /** Where the user was going when the code was missing. */
    let destination: string | null = null
    router.beforeEach((to) => {
        destination = to.fullPath
    })
    router.afterEach(() => {
        destination = null
    })
    addEventListener('vite:preloadError', () => {
        const target = destination
        void isOutdated().then((outdated) => {
            if (!outdated || Date.now() - Number(sessionStorage.getItem(STORAGE_KEY)) < MIN_INTERVAL) return
            sessionStorage.setItem(STORAGE_KEY, String(Date.now()))
            if (target === null) location.reload()
            else location.assign(router.resolve(target).href)
        })
    })
}

/** Return whether the server has another version than this page. False if it cannot be reached: a reload would not help. */
async function isOutdated(): Promise<boolean> {
    const script = document.querySelector<HTMLScriptElement>('head script[type="module"][src]')
    try {
        const response = await fetch('/index.html', { cache: 'no-store' })
        return script !== null && response.ok && !(await response.text()).includes(new URL(script.src).pathname)
    } catch {
        return false
    }
}
