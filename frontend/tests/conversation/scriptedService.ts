// A service whose event streams are scripted.

import { vi } from 'vitest'

export const TEXT = 'Grüße 👋🏽, Ωmega! '.repeat(3)
export const SESSION = 'session'
export const ANSWER = 'answer'

export type StreamEvent = [name: string, id: number, data: unknown]

async function hash(text: string): Promise<string> {
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
    return Buffer.from(digest).toString('hex')
}

export function message(content: string, status = 'complete') {
    return { id: ANSWER, role: 'assistant', content, status, metadata: {}, processing_time_ms: 1, tokens_used: 1 }
}

export async function terminal(text: string, name = 'message.completed', extra = {}): Promise<StreamEvent> {
    const length = [...text].length
    return [name, length + 1, { message: message(text), length, sha256: await hash(text), ...extra }]
}

export const created: StreamEvent = [
    'message.created',
    0,
    { session_id: SESSION, message_id: ANSWER, user_message: {} },
]

export function deltas(text: string, from = 0): StreamEvent[] {
    const points = [...text]
    const pieces: StreamEvent[] = []
    for (let at = from; at < points.length; at += 5) {
        const piece = points.slice(at, at + 5).join('')
        pieces.push(['message.delta', Math.min(at + 5, points.length), { text: piece }])
    }
    return pieces
}

function encode(events: StreamEvent[]): string {
    return events.map(([name, id, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\nid: ${id}\n\n`).join('')
}

/** Responses of the service in order. Requests are kept. */
export function script(...responses: (Response | Error | ((request: Request) => Response))[]): Request[] {
    const requests: Request[] = []
    vi.stubGlobal('fetch', async (request: Request) => {
        requests.push(request)
        const next = responses.shift()
        if (next === undefined) throw new Error('unexpected request')
        if (next instanceof Error) throw next
        return typeof next === 'function' ? next(request) : next
    })
    return requests
}

/** A stream that delivers events and then ends, or breaks. */
export function stream(events: StreamEvent[], end: 'close' | 'break' = 'close'): Response {
    const body = new ReadableStream<Uint8Array>({
        start(controller) {
            // In odd pieces, as a network may deliver them.
            const bytes = new TextEncoder().encode(encode(events))
            for (let at = 0; at < bytes.length; at += 7) controller.enqueue(bytes.slice(at, at + 7))
            if (end === 'close') controller.close()
        },
        pull(controller) {
            if (end === 'break') controller.error(new TypeError('network error'))
        },
    })
    return new Response(body, { headers: { 'Content-Type': 'text/event-stream' } })
}

/** A stream that delivers events and then nothing, until its request is aborted. */
export function silentStream(events: StreamEvent[]): (request: Request) => Response {
    return ({ signal }) =>
        new Response(
            new ReadableStream<Uint8Array>({
                start(controller) {
                    controller.enqueue(new TextEncoder().encode(encode(events)))
                    // As Chromium does, whatever the reason of the abort.
                    const error = new DOMException('aborted', 'AbortError')
                    signal.addEventListener('abort', () => controller.error(error))
                },
            }),
        )
}

export function problem(status: number, code: string, extra = {}): Response {
    return Response.json({ status, code, ...extra }, { status })
}
