// Login, refresh and logout across tabs. Each tab is a fresh copy of the module; the tabs share local storage, locks,
// channel and cookie, as the tabs of a browser do.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Channel, lockManager } from './fakeBrowser'

type Tokens = typeof import('@/api/tokens')
type Reply = () => Response | Promise<Response>

const MINUTE = 60_000
const LIFETIME = 30 * MINUTE

let issued = 0
const calls: { path: string; init: RequestInit }[] = []
const replies: Record<string, Reply> = {}

function tokenResponse(): Response {
    return Response.json({ access_token: `access-${++issued}`, refresh_token: null, expires_in: LIFETIME / 1000 })
}

function refusal(status: number, code: string): Response {
    return Response.json({ status, code }, { status })
}

function requests(path: string): number {
    return calls.filter((call) => call.path === path).length
}

async function openTab(): Promise<Tokens> {
    vi.resetModules()
    return import('@/api/tokens')
}

beforeEach(() => {
    vi.useFakeTimers({ toFake: ['Date', 'setTimeout'], shouldAdvanceTime: true })
    localStorage.clear()
    Channel.open = []
    calls.length = 0
    issued = 0
    Object.assign(replies, {
        '/login': tokenResponse,
        '/refresh': tokenResponse,
        '/logout': () => Response.json({ message: '' }),
        '/logout-all': () => Response.json({ message: '' }),
    })
    vi.stubGlobal('BroadcastChannel', Channel)
    vi.stubGlobal('fetch', async (url: string, init: RequestInit) => {
        const path = url.replace('/api/v1/auth', '')
        calls.push({ path, init })
        return replies[path]?.()
    })
})

afterEach(() => {
    vi.unstubAllGlobals()
    vi.useRealTimers()
})

describe.each(['with locks', 'without locks, on plain HTTP'])('%s', (variant) => {
    beforeEach(() => {
        const locks = variant === 'with locks' ? lockManager() : undefined
        Object.defineProperty(navigator, 'locks', { value: locks, configurable: true })
    })

    it('sends nothing if nobody has logged in', async () => {
        const tab = await openTab()
        expect(await tab.accessToken()).toBeNull()
        expect(calls).toEqual([])
    })

    it('logs in by cookie, and stores no token', async () => {
        const tab = await openTab()
        await tab.logIn('ana', 'secret')
        expect(await tab.accessToken()).toBe('access-1')
        expect(calls[0]?.init.headers).toMatchObject({ 'X-Refresh-Transport': 'cookie' })
        expect(JSON.stringify({ ...localStorage })).not.toContain('access')
    })

    it('sends one refresh for many calls', async () => {
        const tab = await openTab()
        await tab.logIn('ana', 'secret')
        vi.setSystemTime(Date.now() + 3 * 24 * 60 * MINUTE)
        const found = await Promise.all(Array.from({ length: 20 }, () => tab.accessToken()))
        expect(new Set(found)).toEqual(new Set(['access-2']))
        expect(requests('/refresh')).toBe(1)
    })

    it('replaces a refused token once', async () => {
        const tab = await openTab()
        await tab.logIn('ana', 'secret')
        const found = await Promise.all([tab.refresh('access-1'), tab.refresh('access-1')])
        expect(found).toEqual(['access-2', 'access-2'])
        expect(requests('/refresh')).toBe(1)
    })

    it('gives the token of a refresh to the other tabs', async () => {
        const [first, second] = [await openTab(), await openTab()]
        await first.logIn('ana', 'secret')
        expect(await second.accessToken()).toBe('access-1')
        await first.refresh('access-1')
        expect(await second.accessToken()).toBe('access-2')
        expect(requests('/refresh')).toBe(1)
    })

    it('continues after a reload', async () => {
        await (await openTab()).logIn('ana', 'secret')
        Channel.open = []
        expect(await (await openTab()).accessToken()).toBe('access-2')
    })

    it.each([
        ['no network', () => Promise.reject(new TypeError('failed'))],
        ['a restart', () => refusal(502, 'bad_gateway')],
        ['an error', () => refusal(500, 'internal_error')],
        ['a rate limit', () => refusal(429, 'rate_limited')],
    ] as [string, Reply][])('stays logged in with %s', async (_case, reply) => {
        const tab = await openTab()
        const ended = vi.fn()
        tab.onSessionEnd(ended)
        await tab.logIn('ana', 'secret')
        replies['/refresh'] = reply
        await expect(tab.refresh('access-1')).rejects.toMatchObject({ name: 'ApiError' })
        replies['/refresh'] = tokenResponse
        expect(await tab.refresh('access-1')).toBe('access-2')
        expect(ended).not.toHaveBeenCalled()
    })

    it('repeats a refresh whose response was lost, while the service accepts the token again', async () => {
        const tab = await openTab()
        await tab.logIn('ana', 'secret')
        replies['/refresh'] = () => {
            replies['/refresh'] = tokenResponse
            return Promise.reject(new TypeError('connection reset'))
        }
        expect(await tab.refresh('access-1')).toBe('access-2')
        expect(requests('/refresh')).toBe(2)
    })

    it('ends all tabs if the refresh token is refused', async () => {
        const [first, second] = [await openTab(), await openTab()]
        const ended = vi.fn()
        first.onSessionEnd(ended)
        second.onSessionEnd(ended)
        await first.logIn('ana', 'secret')
        replies['/refresh'] = () => refusal(401, 'invalid_refresh_token')
        expect(await first.refresh('access-1')).toBeNull()
        expect(ended.mock.calls).toEqual([['expired'], ['expired']])
        expect(await second.accessToken()).toBeNull()
        expect(localStorage.length).toBe(0)
    })

    it('ends all tabs at logout', async () => {
        const [first, second] = [await openTab(), await openTab()]
        const ended = vi.fn()
        second.onSessionEnd(ended)
        await first.logIn('ana', 'secret')
        await first.logOut()
        expect(ended.mock.calls).toEqual([['logout']])
        expect(await second.accessToken()).toBeNull()
        expect(requests('/logout')).toBe(1)
        expect(localStorage.length).toBe(0)
    })

    it('sends the logout later if the service cannot be reached', async () => {
        const tab = await openTab()
        await tab.logIn('ana', 'secret')
        replies['/logout'] = () => Promise.reject(new TypeError('failed'))
        await expect(tab.logOut()).rejects.toMatchObject({ code: 'network_error' })
        expect(await tab.accessToken()).toBeNull()
        replies['/logout'] = () => Response.json({ message: '' })
        const reloaded = await openTab()
        expect(await reloaded.accessToken()).toBeNull()
        await vi.waitFor(() => expect(localStorage.length).toBe(0))
        expect(requests('/refresh')).toBe(0)
    })

    it('stays ended if a refresh in progress ends after the logout', async () => {
        const tab = await openTab()
        await tab.logIn('ana', 'secret')
        let respond: (response: Response) => void = () => undefined
        replies['/refresh'] = () => new Promise((resolve) => (respond = resolve))
        const refreshed = tab.refresh('access-1')
        await vi.waitFor(() => expect(requests('/refresh')).toBe(1))
        const loggedOut = tab.logOut()
        respond(tokenResponse())
        expect(await refreshed).toBeNull()
        await loggedOut
        expect(await tab.accessToken()).toBeNull()
    })

    it('ends a tab that was asleep during the logout', async () => {
        const [first, asleep] = [await openTab(), await openTab()]
        const ended = vi.fn()
        asleep.onSessionEnd(ended)
        await first.logIn('ana', 'secret')
        Channel.sleep()
        await first.logOut()
        expect(ended).not.toHaveBeenCalled()
        document.dispatchEvent(new Event('visibilitychange'))
        expect(ended.mock.calls).toEqual([['expired']])
        expect(await asleep.accessToken()).toBeNull()
    })

    it('never continues as another account in a tab that was asleep', async () => {
        const [first, asleep] = [await openTab(), await openTab()]
        const ended = vi.fn()
        asleep.onSessionEnd(ended)
        await first.logIn('ana', 'secret')
        Channel.sleep()
        await first.logOut()
        await first.logIn('ben', 'secret')
        expect(await asleep.accessToken()).toBeNull()
        expect(ended.mock.calls).toEqual([['logout']])
    })

    it('logs in other tabs', async () => {
        const [first, second] = [await openTab(), await openTab()]
        const started = vi.fn()
        second.onSessionStart(started)
        await first.logIn('ana', 'secret')
        await first.refresh('access-1')
        expect(started).toHaveBeenCalledOnce()
    })

    it('goes on if the logout of all devices fails', async () => {
        const tab = await openTab()
        await tab.logIn('ana', 'secret')
        replies['/logout-all'] = () => refusal(503, 'database_unavailable')
        await expect(tab.logOutEverywhere()).rejects.toMatchObject({ code: 'database_unavailable' })
        expect(await tab.accessToken()).toBe('access-1')
        replies['/logout-all'] = () => Response.json({ message: '' })
        await tab.logOutEverywhere()
        expect(await tab.accessToken()).toBeNull()
    })

    it('reports wrong credentials', async () => {
        const tab = await openTab()
        replies['/login'] = () => refusal(401, 'invalid_credentials')
        await expect(tab.logIn('ana', 'wrong')).rejects.toMatchObject({ code: 'invalid_credentials' })
        expect(await tab.accessToken()).toBeNull()
    })
})
