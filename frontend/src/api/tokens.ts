// Access token of this tab, and its refresh. The refresh token is an HttpOnly cookie that no script can read.
//
// All tabs share one refresh: a lock lets one tab at a time call the service, and a channel gives its access token to
// the others. The channel also ends all tabs at logout.

import { ApiError, errorOfException, errorOfResponse } from './problem'

const AUTH_PATH = '/api/v1/auth'
const COOKIE_TRANSPORT = { 'X-Refresh-Transport': 'cookie' }
/** A token is replaced this long before it expires, in milliseconds. */
const EXPIRY_MARGIN = 20_000
const TIMEOUT = 30_000
/** Says that this browser has logged in, so that a first visit sends no refresh that would be refused. Not a secret. */
const LOGGED_IN_KEY = 'logged-in'

interface AccessToken {
    value: string
    /** Time at which it expires, as of `Date.now()`. */
    expiresAt: number
}

type ChannelMessage = { kind: 'token'; token: AccessToken } | { kind: 'ended' }

let current: AccessToken | null = null
const endListeners = new Set<() => void>()
const channel = new BroadcastChannel('session')

channel.addEventListener('message', ({ data }: MessageEvent<ChannelMessage>) => {
    if (data.kind === 'token') current = data.token
    else endHere()
})

/** Call a function when the session ends: by logout in any tab, or because the service refuses the refresh token. */
export function onSessionEnd(listener: () => void): void {
    endListeners.add(listener)
}

function endHere(): void {
    current = null
    localStorage.removeItem(LOGGED_IN_KEY)
    for (const listener of endListeners) listener()
}

function store(token: AccessToken): void {
    current = token
    localStorage.setItem(LOGGED_IN_KEY, 'true')
    channel.postMessage({ kind: 'token', token } satisfies ChannelMessage)
}

async function post(path: string, init: RequestInit = {}): Promise<Response> {
    try {
        const response = await fetch(AUTH_PATH + path, {
            method: 'POST',
            signal: AbortSignal.timeout(TIMEOUT),
            ...init,
            headers: { ...COOKIE_TRANSPORT, ...init.headers },
        })
        if (!response.ok) throw await errorOfResponse(response)
        return response
    } catch (exception) {
        throw errorOfException(exception)
    }
}

async function storeTokenOf(response: Response): Promise<void> {
    const body = (await response.json()) as { access_token: string; expires_in: number }
    store({ value: body.access_token, expiresAt: Date.now() + body.expires_in * 1000 })
}

/**
 * Log in with an email address or user name.
 *
 * @throws ApiError `invalid_credentials`, `too_many_attempts` and others of the service.
 */
export async function logIn(username: string, password: string): Promise<void> {
    await storeTokenOf(await post('/login', { body: new URLSearchParams({ username, password }) }))
}

/** Return a valid access token, refreshed if needed; null if nobody is logged in. Transient failures are thrown. */
export async function accessToken(): Promise<string | null> {
    if (current && current.expiresAt - EXPIRY_MARGIN > Date.now()) return current.value
    if (localStorage.getItem(LOGGED_IN_KEY) === null) return null
    return refresh(current?.value ?? null)
}

/** Replace an access token that a service refused, and return the new one; null if the session has ended. */
export async function refresh(refused: string | null): Promise<string | null> {
    return navigator.locks.request('token-refresh', async () => {
        // Another tab, or another call in this one, may have replaced it while this one waited for the lock.
        if (current && current.value !== refused && current.expiresAt - EXPIRY_MARGIN > Date.now()) return current.value
        try {
            await storeTokenOf(await post('/refresh'))
        } catch (error) {
            if (!(error instanceof ApiError) || error.status !== 401) throw error
            endEverywhere()
            return null
        }
        return current?.value ?? null
    })
}

/** End the session at the service, and in all tabs. The tabs end even if the service cannot be reached. */
export async function logOut(everywhere = false): Promise<void> {
    const token = await accessToken().catch(() => null)
    const headers: Record<string, string> = token ? { Authorization: `Bearer ${token}` } : {}
    try {
        await post(everywhere ? '/logout-all' : '/logout', { headers })
    } finally {
        endEverywhere()
    }
}

/** End the session in all tabs of this browser, after the service has ended it. */
export function endEverywhere(): void {
    channel.postMessage({ kind: 'ended' } satisfies ChannelMessage)
    endHere()
}
