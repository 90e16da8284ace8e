// Reader of one answer: asks for it or follows it, reconnects until its end, and checks that nothing was missed.

import type { AnswerEvent } from '@/api/eventStream'
import type { MessageCreatedEvent, MessageEndedEvent, MessageFailedEvent, MessageResponse } from '@/api/generated/chat'
import { ApiError } from '@/api/problem'
import { AnswerText } from './answerText'
import { prove, type ProofResult } from './proof'
import { retryPause } from './retryPause'

type OpenStream = (signal: AbortSignal, onOpen: () => void) => AsyncIterable<AnswerEvent>

export interface AnswerSource {
    /** Send the request that starts the answer. Repeated until it is known to have arrived. */
    ask?: OpenStream
    /** Read the events of an answer after a position; null: from its first event. */
    follow: (messageId: string, position: number | null, ...args: Parameters<OpenStream>) => AsyncIterable<AnswerEvent>
    /** The answer, if it exists already. */
    messageId?: string
}

export interface AnswerListener {
    onCreated?(event: MessageCreatedEvent): void
    onText(text: string): void
    onTitle?(title: string): void
    /** Called when the connection is lost, and when it is back. */
    onConnection?(isConnected: boolean): void
}

export interface AnswerOutcome {
    /** The answer as stored; its content is the text that was checked. */
    message: MessageResponse
    proof: ProofResult
}

type Pause = typeof retryPause

/** State of the reading after an event: the connection is of no more use, or the answer must be read once more. */
type Progress = AnswerOutcome | 'cut' | 'again' | null

/** Failures after which the request may have arrived, or will succeed later. A quota that is used up is neither. */
function isLostConnection(error: unknown, isFollowing: boolean): boolean {
    // Browsers report connections that were dropped or fell silent as aborted, whatever the reason of the abort.
    if (error instanceof DOMException && error.name === 'AbortError') return true
    return error instanceof ApiError && error.isTransient && (isFollowing || error.status !== 429)
}

/**
 * Read an answer to its end. Returns null if the signal aborts first; the service then goes on with the answer.
 *
 * @throws ApiError if the service refuses the request, or the answer no longer exists.
 */
export async function followAnswer(
    source: AnswerSource,
    listener: AnswerListener,
    signal: AbortSignal,
    pause: Pause = retryPause,
): Promise<AnswerOutcome | null> {
    const reader = new Reader(source, listener)
    let attempt = 0
    while (!signal.aborted) {
        let retryAfter: number | null = null
        try {
            const progress = await reader.read(signal, () => (attempt = 0))
            if (progress === 'again') continue
            if (progress !== 'cut') return progress
        } catch (error) {
            if (signal.aborted) break
            if (reader.adopt(error)) continue
            if (!isLostConnection(error, reader.isFollowing)) throw error
            if (error instanceof ApiError) retryAfter = error.retryAfter
        }
        listener.onConnection?.(false)
        await pause(++attempt, retryAfter, signal)
    }
    return null
}

class Reader {
    private readonly answer = new AnswerText()
    private messageId: string | null
    private isCreated = false
    /** Whether the whole answer was read again because its text differed from the stored one. */
    private isReread = false

    constructor(
        private readonly source: AnswerSource,
        private readonly listener: AnswerListener,
    ) {
        this.messageId = source.messageId ?? null
        this.isCreated = this.messageId !== null
    }

    get isFollowing(): boolean {
        return this.messageId !== null
    }

    /** Follow the answer to the first request with the same key, whose response was lost. */
    adopt(error: unknown): boolean {
        if (!(error instanceof ApiError) || error.code !== 'idempotency_in_progress') return false
        if (this.isFollowing || error.messageId === null) return false
        this.messageId = error.messageId
        return true
    }

    /** Read one connection. `cut`: it ended before the answer did. */
    async read(signal: AbortSignal, onProgress: () => void): Promise<Exclude<Progress, null>> {
        const connection = new AbortController()
        const drop = () => connection.abort(new DOMException('offline', 'NetworkError'))
        // Browsers do not always end open connections when the network goes.
        window.addEventListener('offline', drop)
        try {
            const stream = this.open(AbortSignal.any([signal, connection.signal]), () => {
                this.listener.onConnection?.(true)
            })
            for await (const event of stream) {
                onProgress()
                const progress = await this.apply(event)
                if (progress) return progress
            }
            return 'cut'
        } finally {
            window.removeEventListener('offline', drop)
        }
    }

    private open(...args: Parameters<OpenStream>): AsyncIterable<AnswerEvent> {
        if (this.messageId !== null)
            return this.source.follow(this.messageId, this.isCreated ? this.answer.position : null, ...args)
        if (!this.source.ask) throw new Error('an answer needs an id or a question')
        return this.source.ask(...args)
    }

    private async apply(event: AnswerEvent): Promise<Progress> {
        switch (event.name) {
            case 'message.created':
                this.messageId = event.data.message_id
                if (!this.isCreated) this.listener.onCreated?.(event.data)
                this.isCreated = true
                return null
            case 'message.delta':
                // Without the text before it, reading continues at the last position.
                if (!this.answer.append(event.data.text, event.id)) return 'cut'
                this.listener.onText(this.answer.text)
                return null
            case 'message.snapshot':
                this.answer.replace(event.data.message.content)
                this.listener.onText(this.answer.text)
                return null
            case 'session.title':
                this.listener.onTitle?.(event.data.title)
                return null
            case 'message.completed':
            case 'message.cancelled':
            case 'message.failed':
                return this.finish(event.data)
            default:
                return null // an event of a later version
        }
    }

    private async finish(end: MessageEndedEvent | MessageFailedEvent): Promise<Progress> {
        for (const text of [this.answer.text, end.message.content]) {
            const proof = await prove(text, end)
            if (proof !== 'mismatch') return outcomeOf(end, text, proof)
        }
        if (this.isReread) return outcomeOf(end, end.message.content, 'mismatch')
        this.isReread = true
        this.answer.replace('')
        return 'again'
    }
}

function outcomeOf(end: MessageEndedEvent | MessageFailedEvent, text: string, proof: ProofResult): AnswerOutcome {
    const metadata = 'code' in end ? { error: end.code, ...end.message.metadata } : end.message.metadata
    return { message: { ...end.message, content: text, metadata }, proof }
}
