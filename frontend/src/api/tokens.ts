// Access token of this tab, and its refresh. The refresh token is an HttpOnly cookie that no script can read.
//
// All tabs share one login: one tab at a time calls the service, and a channel gives the access token to the others and
// logs them out at logout. Local storage holds the id of the login (random, not a secret), because tabs that were asleep
// miss messages: a tab whose login is no longer the stored one ends, and never continues as somebody else.

import { exclusively } from './exclusive'
import { ApiError, errorOfException, errorOfResponse } from './problem'
import { randomId } from './randomId'

const AUTH_PATH = '/api/v1/auth'
const COOKIE_TRANSPORT = { 'X-Refresh-Transport': 'cookie' }
/** A token is replaced this long before it expires, in milliseconds. */
const EXPIRY_MARGIN = 20_000
const TIMEOUT = 30_000
/** After a refresh without a response, in milliseconds. The service accepts the same token again. */
const RETRY_DELAY = 1000
const LOGIN_KEY = 'login'
/** Stored instead of an id while a logout has not reached the service, so that it is sent again. */
const LOGOUT_PENDING = 'logout-pending'

/** `logout`: by the user, in any tab. `expired`: the service refuses the refresh token, or the reason is not known. */
export type EndReason = 'logout' | 'expired'

interface AccessToken {
    value: string
    /** Time at which it expires, by the clock of this device. It is computed from a duration, so skew is harmless. */
    expiresAt: number
}

type ChannelMessage =
    { kind: 'token'; login: string; token: AccessToken } | { kind: 'ended'; login: string; reason: EndReason }

let current: AccessToken | null = null
/** Id of the login of this tab. */
let login: string | null = null
/** Login that has ended. Local storage may still show it here for a moment: messages of other tabs can be faster. */
let endedLogin: string | null = null
let logoutInProgress: Promise<void> | null = null
const startListeners = new Set<() => void>()
const endListeners = new Set<(reason: EndReason) => void>()
const channel = new BroadcastChannel('session')

channel.addEventListener('message', ({ data }: MessageEvent<ChannelMessage | null>) => {
    // From a tab with another version of this page.
    if (typeof data?.login !== 'string') return
    if (data.kind === 'ended') {
        if (data.login === login) endHere(data.reason)
    } else if (login === null || login === data.login) {
        const isStart = login === null
        current = data.token
        login = data.login
        if (isStart) {
            localStorage.setItem(LOGIN_KEY, login)
            for (const listener of startListeners) listener()
        }
    } else endHere('logout')
})

// Tabs that were asleep, and pages that come back by "back", end before their content is used.
document.addEventListener('visibilitychange', isLoggedIn)
addEventListener('pageshow', isLoggedIn)

/** Call a function when another tab logs in. */
export function onSessionStart(listener: () => void): void {
    startListeners.add(listener)
}

/** Call a function when the session ends: by logout in any tab, or because the service refuses the refresh token. */
export function onSessionEnd(listener: (reason: EndReason) => void): void {
    endListeners.add(listener)
}

function endHere(reason: EndReason): void {
    if (login === null) return
    current = null
    endedLogin = login
    login = null
    for (const listener of endListeners) listener(reason)
}

/** End the session in all tabs of this browser, after the service has ended it. */
export function endEverywhere(reason: EndReason): void {
    if (login !== null) {
        localStorage.removeItem(LOGIN_KEY)
        channel.postMessage({ kind: 'ended', login, reason } satisfies ChannelMessage)
    }
    endHere(reason)
}

/** Return whether this tab has a login, which is that of the browser. Ends this tab if it has another one. */
function isLoggedIn(): boolean {
    const stored = localStorage.getItem(LOGIN_KEY)
    if (stored === LOGOUT_PENDING) void sendLogout().catch(() => undefined)
    const id = stored === LOGOUT_PENDING || stored === endedLogin ? null : stored
    if (login !== null && login !== id) endHere(id === null ? 'expired' : 'logout')
    else login = id
    return login !== null
}

/** Return whether this browser has a login, which may have expired. Unlike `accessToken`, it sends no request. */
export function hasLogin(): boolean {
    const stored = localStorage.getItem(LOGIN_KEY)
    return stored !== null && stored !== LOGOUT_PENDING
}

function isFresh(token: AccessToken | null): token is AccessToken {
    return token !== null && token.expiresAt - EXPIRY_MARGIN > Date.now()
}

function tokenValue(): string | null {
    return current?.value ?? null
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

function authorization(token: string | null): Record<string, string> {
    return token === null ? {} : { Authorization: `Bearer ${token}` }
}

async function readToken(response: Response): Promise<AccessToken> {
    const body = (await response.json().catch((exception) => {
        throw errorOfException(exception)
    })) as { access_token: string; expires_in: number }
    return { value: body.access_token, expiresAt: Date.now() + body.expires_in * 1000 }
}

function store(token: AccessToken, id: string): void {
    current = token
    login = id
    channel.postMessage({ kind: 'token', login: id, token } satisfies ChannelMessage)
}

/**
 * Log in with an email address or user name.
 *
 * @throws ApiError `invalid_credentials`, `too_many_attempts` and others of the service.
 */
export async function logIn(username: string, password: string): Promise<void> {
    await exclusively(async () => {
        const body = new URLSearchParams({ username, password })
        const token = await readToken(await post('/login', { body }))
        const id = randomId()
        localStorage.setItem(LOGIN_KEY, id)
        store(token, id)
    })
}

/** Return a valid access token, refreshed if needed; null if nobody is logged in. Transient failures are thrown. */
export async function accessToken(): Promise<string | null> {
    if (!isLoggedIn()) return null
    if (isFresh(current)) return current.value
    return refresh(tokenValue())
}

/** Replace an access token that a service refused, and return the new one; null if the session has ended. */
export async function refresh(refused: string | null): Promise<string | null> {
    return exclusively(async () => {
        if (!isLoggedIn()) return null
        // Another tab, or another call in this one, may have replaced it while this one waited.
        if (isFresh(current) && current.value !== refused) return current.value
        const id = login
        try {
            const token = await requestToken()
            // The session may have ended in the meantime.
            if (!isLoggedIn() || id === null || id !== login) return null
            store(token, id)
            return token.value
        } catch (error) {
            if (!(error instanceof ApiError) || error.status !== 401) throw error
            if (isLoggedIn() && id === login) endEverywhere('expired')
            return null
        }
    })
}

async function requestToken(): Promise<AccessToken> {
    try {
        return await readToken(await post('/refresh'))
    } catch (error) {
        // If only the response was lost, the same token gets the same successor again.
        if (!(error instanceof ApiError) || error.code !== 'network_error') throw error
        await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY))
        return await readToken(await post('/refresh'))
    }
}

/** End the session here and at the service. If the service cannot be reached, the logout is sent later. */
export async function logOut(): Promise<void> {
    const token = tokenValue()
    if (login === null) return
    endEverywhere('logout')
    localStorage.setItem(LOGIN_KEY, LOGOUT_PENDING)
    await sendLogout(token)
}

/** End the login of the cookie at the service. Repeated calls share one request. */
function sendLogout(token: string | null = null): Promise<void> {
    logoutInProgress ??= exclusively(async () => {
        if (localStorage.getItem(LOGIN_KEY) !== LOGOUT_PENDING) return
        try {
            // `keepalive`: also if the page is left meanwhile.
            await post('/logout', { headers: authorization(token), keepalive: true })
        } catch (error) {
            if (!(error instanceof ApiError) || error.status !== 401) throw error
            // The login had already ended.
        }
        localStorage.removeItem(LOGIN_KEY)
    }).finally(() => {
        logoutInProgress = null
    })
    return logoutInProgress
}

/**
 * End all sessions of the account, on all devices. They go on if this fails.
 *
 * @throws ApiError if the service cannot be reached.
 */
export async function logOutEverywhere(): Promise<void> {
    const token = await accessToken()
    if (token === null) return
    await post('/logout-all', { headers: authorization(token) })
    endEverywhere('logout')
}
