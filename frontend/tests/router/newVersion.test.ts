import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createMemoryHistory, createRouter } from 'vue-router'
import { reloadForNewVersion } from '@/router/newVersion'

const OPEN_SCRIPT = '/assets/base-1.js'
const page = (script: string) => `<script type="module" src="${script}"></script>`
let deployed = OPEN_SCRIPT
const reload = vi.fn()

beforeEach(() => {
    sessionStorage.clear()
    reload.mockClear()
    document.head.innerHTML = ''
    const script = document.createElement('script')
    script.type = 'module'
    script.setAttribute('src', new URL(OPEN_SCRIPT, 'http://localhost').href)
    // Not run: only its address is read.
    vi.spyOn(document, 'querySelector').mockReturnValue(script)
    vi.stubGlobal('location', { ...location, reload, assign: vi.fn() })
    vi.stubGlobal('fetch', async () => new Response(page(deployed)))
    reloadForNewVersion(createRouter({ history: createMemoryHistory(), routes: [{ path: '/', component: {} }] }))
})
afterEach(() => vi.unstubAllGlobals())

async function fail(): Promise<void> {
    dispatchEvent(new Event('vite:preloadError'))
    await new Promise((resolve) => setTimeout(resolve, 20))
}

it('loads the page anew once when another version is deployed', async () => {
    deployed = '/assets/base-2.js'
    await fail()
    const first = reload.mock.calls.length
    expect(first).toBeGreaterThan(0)
    await fail()
    expect(reload.mock.calls.length).toBe(first)
})

it('does not when the version is the same', async () => {
    deployed = OPEN_SCRIPT
    await fail()
    expect(reload).not.toHaveBeenCalled()
})
