// `fetch` with the access token of the session: sets the header, refreshes a refused token once, and throws ApiError.

import { errorOfException, errorOfResponse } from './problem'
import { accessToken, refresh } from './tokens'

/** Longer than the gateway waits for a service, in milliseconds. */
const TIMEOUT = 90_000
/** Status of a response if the access token has expired or was revoked. */
const TOKEN_REFUSED = 401

export interface FetchOptions {
    /** Whether the response is read for longer than `TIMEOUT`: streams, downloads and uploads. */
    unlimited?: boolean
}

/**
 * Send a request as the logged-in user; without a header if nobody is logged in.
 *
 * @throws ApiError for responses that are not successful and for failures of the network.
 */
export async function authorizedFetch(
    input: RequestInfo | URL,
    init?: RequestInit,
    options: FetchOptions = {},
): Promise<Response> {
    const request = new Request(input, init)
    try {
        const token = await accessToken()
        let response = await send(request.clone(), token, options)
        if (response.status === TOKEN_REFUSED && token !== null) {
            const successor = await refresh(token)
            if (successor !== null) response = await send(request.clone(), successor, options)
        }
        if (!response.ok) throw await errorOfResponse(response)
        return response
    } catch (exception) {
        throw errorOfException(exception)
    }
}

async function send(request: Request, token: string | null, { unlimited = false }: FetchOptions): Promise<Response> {
    if (token !== null) request.headers.set('Authorization', `Bearer ${token}`)
    if (unlimited) return fetch(request)
    return fetch(request, { signal: AbortSignal.any([request.signal, AbortSignal.timeout(TIMEOUT)]) })
}
