// Errors of API calls: problem documents (RFC 9457) of the services and the gateway, and failures of the network.

export interface ProblemField {
    field: string
    code: string
    message: string
}

interface ProblemDocument {
    title?: string
    status?: number
    detail?: string
    code?: string
    request_id?: string | null
    errors?: ProblemField[] | null
    message_id?: string | null
}

/** A failed call. `code` is the problem's, `network_error` (no response), or `request_timeout`. */
export class ApiError extends Error {
    readonly status: number
    readonly code: string
    readonly requestId: string | null
    readonly fields: ProblemField[]
    /** Seconds after which the call may be repeated, from the header `Retry-After`. */
    readonly retryAfter: number | null
    /** For `turn_active`: the answer in progress. */
    readonly messageId: string | null

    constructor(problem: ProblemDocument, retryAfter: number | null = null) {
        super(problem.detail ?? problem.title ?? 'The request failed.')
        this.name = 'ApiError'
        this.status = problem.status ?? 0
        this.code = problem.code ?? 'error'
        this.requestId = problem.request_id ?? null
        this.fields = problem.errors ?? []
        this.retryAfter = retryAfter
        this.messageId = problem.message_id ?? null
    }

    /** Whether the same call may succeed later: the network or a service is not available. */
    get isTransient(): boolean {
        return this.status === 0 || this.status === 429 || this.status >= 502
    }
}

/** Return the error that a response describes. Bodies that are no problem documents are reduced to the status. */
export async function errorOfResponse(response: Response): Promise<ApiError> {
    let problem: ProblemDocument = {}
    try {
        const body: unknown = await response.json()
        if (typeof body === 'object' && body !== null) problem = body
    } catch {
        // Not JSON, for example the page of a proxy.
    }
    const seconds = Number.parseInt(response.headers.get('Retry-After') ?? '', 10)
    return new ApiError(
        { ...problem, status: response.status, title: problem.title ?? response.statusText },
        Number.isNaN(seconds) ? null : seconds,
    )
}

/** Return the error for an exception of `fetch`. Aborts by the caller are returned unchanged. */
export function errorOfException(exception: unknown): unknown {
    if (exception instanceof ApiError) return exception
    if (exception instanceof DOMException && exception.name === 'TimeoutError')
        return new ApiError({ code: 'request_timeout', detail: 'The server did not respond in time.' })
    if (exception instanceof DOMException && exception.name === 'AbortError') return exception
    return new ApiError({ code: 'network_error', detail: 'The server cannot be reached.' })
}
