// Event stream of an answer (`text/event-stream`), read with `fetch`, because EventSource sends no headers and no body.

import { createParser } from 'eventsource-parser'
import { authorizedFetch } from './authorizedFetch'
import type {
    MessageCreatedEvent,
    MessageDeltaEvent,
    MessageEndedEvent,
    MessageFailedEvent,
    MessageSnapshotEvent,
    SessionTitleEvent,
} from './generated/chat'
import { errorOfException } from './problem'

export interface AnswerEvents {
    'message.created': MessageCreatedEvent
    'message.delta': MessageDeltaEvent
    'message.completed': MessageEndedEvent
    'message.failed': MessageFailedEvent
    'message.cancelled': MessageEndedEvent
    'message.snapshot': MessageSnapshotEvent
    'session.title': SessionTitleEvent
}

/** One event. `id` is the position to resume after, if the service sent one. */
export type AnswerEvent = {
    [Name in keyof AnswerEvents]: { name: Name; id: string | undefined; data: AnswerEvents[Name] }
}[keyof AnswerEvents]

/** The service sends a comment every 15 s. A connection that is silent for longer is dead, in milliseconds. */
const SILENCE_LIMIT = 40_000

/**
 * Request an event stream and yield its events. Ends when the connection ends, whether or not a terminal event came.
 * `onOpen` is called when the service has accepted the request; the first event may come much later.
 *
 * @throws ApiError if the service refuses the request, or the connection breaks or falls silent.
 */
export async function* readEvents(
    url: string,
    init: RequestInit,
    signal: AbortSignal,
    onOpen?: () => void,
): AsyncGenerator<AnswerEvent> {
    const silence = new AbortController()
    const response = await authorizedFetch(
        url,
        {
            ...init,
            signal: AbortSignal.any([signal, silence.signal]),
            headers: { Accept: 'text/event-stream', ...init.headers },
        },
        { unlimited: true },
    )
    onOpen?.()
    if (!response.body) return
    const received: AnswerEvent[] = []
    const parser = createParser({
        onEvent: ({ event, id, data }) => {
            received.push({ name: event, id, data: JSON.parse(data) } as AnswerEvent)
        },
    })
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
    try {
        for (;;) {
            const timer = setTimeout(() => silence.abort(new DOMException('silent', 'TimeoutError')), SILENCE_LIMIT)
            const { done, value } = await reader.read().finally(() => clearTimeout(timer))
            if (done) return
            parser.feed(value)
            yield* received.splice(0)
        }
    } catch (exception) {
        throw errorOfException(exception)
    } finally {
        // Ends the connection if the caller stops reading.
        await reader.cancel().catch(() => undefined)
    }
}
