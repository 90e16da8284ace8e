// Requests for event streams of answers.

import { readEvents, type AnswerEvent } from '@/api/eventStream'
import type { AnswerCreate, MessageCreate } from '@/api/generated/chat'

const SESSIONS = '/api/v1/chat/sessions'

type Events = AsyncGenerator<AnswerEvent>

function post(path: string, body: object, key: string, signal: AbortSignal, onOpen: () => void): Events {
    const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key }
    return readEvents(SESSIONS + path, { method: 'POST', headers, body: JSON.stringify(body) }, signal, onOpen)
}

/** Ask a question. Repeated with the same key, it is asked once. */
export function askQuestion(
    sessionId: string,
    question: MessageCreate,
    key: string,
    ...args: [AbortSignal, () => void]
): Events {
    return post(`/${sessionId}/messages/stream`, question, key, ...args)
}

/** Answer a question once more. `messageId`: the question, or one of its answers. */
export function askAgain(
    sessionId: string,
    messageId: string,
    options: AnswerCreate,
    key: string,
    ...args: [AbortSignal, () => void]
): Events {
    return post(`/${sessionId}/messages/${messageId}/regenerate/stream`, options, key, ...args)
}

/** Read the events of an answer after a position; null: from its first event. */
export function readAnswer(
    sessionId: string,
    messageId: string,
    position: number | null,
    ...args: [AbortSignal, () => void]
): Events {
    const headers: Record<string, string> = position === null ? {} : { 'Last-Event-ID': String(position) }
    return readEvents(`${SESSIONS}/${sessionId}/messages/${messageId}/events`, { headers }, ...args)
}
