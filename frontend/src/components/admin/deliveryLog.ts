// Log of a webhook delivery. The service stores its entries as JSON without a schema.

export interface Attempt {
    number: number
    at: string
    duration: number
    errorCode: string | null
    status: number | null
    parts: { name: 'request' | 'response'; text: string }[]
}

type Entry = Record<string, unknown>

function asObject(value: unknown): Entry {
    return typeof value === 'object' && value !== null ? (value as Entry) : {}
}

/** Return headers, an object or pairs, as lines. */
function headerLines(headers: unknown): string[] {
    const pairs = Array.isArray(headers) ? (headers as unknown[][]) : Object.entries(asObject(headers))
    return pairs.map(([name, value]) => `${String(name)}: ${String(value)}`)
}

/** Return the attempts in a log, in its order. Missing parts are left out. */
export function attemptsOf(log: readonly Entry[]): Attempt[] {
    return log.map((entry, index) => {
        const request = asObject(entry.request)
        const response = asObject(entry.response)
        const requestLines = [String(request.method ?? ''), ...headerLines(request.headers)]
        const responseLines = [`HTTP ${String(response.status ?? '')}`, ...headerLines(response.headers)]
        if (typeof response.body === 'string') responseLines.push('', response.body)
        return {
            number: Number(entry.attempt ?? index + 1),
            at: String(entry.at ?? ''),
            duration: Number(entry.duration_ms ?? 0),
            errorCode: typeof entry.error_code === 'string' ? entry.error_code : null,
            status: typeof response.status === 'number' ? response.status : null,
            parts: [
                ...(entry.request ? [{ name: 'request' as const, text: requestLines.filter(Boolean).join('\n') }] : []),
                ...(entry.response ? [{ name: 'response' as const, text: responseLines.join('\n') }] : []),
            ],
        }
    })
}
