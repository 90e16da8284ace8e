// Turns of the open conversation: questions are shown at once, sent, and their answers read to the end.

import { cancelMessage, createSession, type AnswerCreate, type MessageCreate } from '@/api/generated/chat'
import { askAgain, askQuestion, readAnswer } from './answerRequests'
import { entryOf, isActive, localMessage, type Entry } from './entries'
import { followAnswer, type AnswerSource } from './followAnswer'
import { clearOutgoing, keepOutgoing, outgoingQuestion, type OutgoingQuestion } from './outbox'
import type { ConversationState, Turn } from './state'
import { turnListener, type SessionObserver } from './turnListener'
import { untilReached } from './untilReached'

export function createTurns(
    state: ConversationState,
    recover: (error: unknown) => Promise<void>,
    observer: SessionObserver,
) {
    function begin(entry: Entry): Turn {
        const turn: Turn = { entry, controller: new AbortController(), isCreated: false, isStopRequested: false }
        state.turn.value = turn
        state.turnError.value = null
        state.isConnected.value = true
        return turn
    }

    /** Read an answer to its end. `giveBack` undoes what was shown if the service refuses the request. */
    async function run(turn: Turn, sessionId: string, source: AnswerSource, giveBack: () => void): Promise<void> {
        const isShown = () => state.turn.value === turn
        const listener = turnListener(state, turn, sessionId, { observer, cancel })
        try {
            const outcome = await followAnswer(source, listener, turn.controller.signal)
            if (outcome) listener.end(outcome)
            else if (isShown() && !turn.isCreated) giveBack()
            if (!isShown()) return
            state.turn.value = null
            if (outcome?.proof === 'mismatch' || !outcome) await recover(null)
        } catch (error) {
            if (!isShown()) return
            state.turn.value = null
            if (!turn.isCreated) giveBack()
            await recover(error)
            if (state.sessionId.value === sessionId) state.turnError.value = error
        }
    }

    /** Ask a question at the end of the conversation, or in the place of an earlier one, as another version of it. */
    async function ask(question: MessageCreate, replaced?: Entry): Promise<void> {
        if (state.turn.value) return
        const key = crypto.getRandomValues(new Uint32Array(4)).join('-')
        const sessionId = state.sessionId.value
        const body = replaced ? { ...question, parent_id: replaced.message.parent_id } : question
        const creation = sessionId === null ? creationOf(question, key) : undefined
        await deliver({ sessionId, key, question: body, ...(creation && { creation }) }, replaced)
    }

    /** The context of the first question becomes that of the session. */
    function creationOf({ context }: MessageCreate, key: string): OutgoingQuestion['creation'] {
        return { key: `session-${key}`, body: context ? { context } : {} }
    }

    async function deliver(outgoing: OutgoingQuestion, replaced?: Entry, onSettled?: () => void): Promise<void> {
        const before = state.entries.value
        const kept = replaced ? before.slice(0, before.indexOf(replaced)) : before
        const parent = replaced ? replaced.message.parent_id : (kept.at(-1)?.message.id ?? null)
        const asked = entryOf(
            localMessage('user', outgoing.question.message, parent, replaced && replaced.message.siblings),
        )
        const answer = entryOf(localMessage('assistant', '', asked.message.id))
        state.entries.value = [...kept, asked, answer]
        const turn = begin(answer)
        keepOutgoing(outgoing)
        const settle = () => {
            clearOutgoing(outgoing.key)
            onSettled?.()
        }
        turn.onConfirmed = settle
        const giveBack = () => {
            settle()
            state.entries.value = before
            if (replaced) state.edit.value = { messageId: replaced.message.id, text: outgoing.question.message }
            else state.returnedText.value = outgoing.question.message
        }
        const sessionId = outgoing.sessionId ?? (await create(turn, outgoing, giveBack))
        if (sessionId === null) return
        const question = outgoing.creation ? { ...outgoing.question, context: null } : outgoing.question
        const send: AnswerSource['ask'] = (...args) => askQuestion(sessionId, question, outgoing.key, ...args)
        await run(turn, sessionId, { ask: send, follow: follower(sessionId) }, giveBack)
    }

    /** Create the session of a first question. Returns null if it cannot be created. */
    async function create(turn: Turn, outgoing: OutgoingQuestion, giveBack: () => void): Promise<string | null> {
        const { key, body } = outgoing.creation ?? { key: '', body: {} }
        const { signal } = turn.controller
        const isShown = () => state.turn.value === turn
        try {
            const created = await untilReached(
                () => createSession({ body, headers: { 'Idempotency-Key': key }, signal }),
                (isConnected) => isShown() && (state.isConnected.value = isConnected),
                signal,
            )
            outgoing.sessionId = created.session_id
            keepOutgoing(outgoing)
            observer.created(created)
            if (isShown()) state.sessionId.value = created.session_id
            return created.session_id
        } catch (error) {
            if (!isShown()) return null
            state.turn.value = null
            state.turnError.value = signal.aborted ? null : error
            giveBack()
            return null
        }
    }

    /** Answer a question once more. `entry`: one of its answers, or the question if it has none. */
    async function regenerate(entry: Entry, options: AnswerCreate = {}): Promise<void> {
        const sessionId = state.sessionId.value
        if (state.turn.value || sessionId === null) return
        const before = state.entries.value
        const { message } = entry
        const isAnswer = message.role === 'assistant'
        const another = entryOf(
            isAnswer
                ? localMessage('assistant', '', message.parent_id, message.siblings)
                : localMessage('assistant', '', message.id),
        )
        state.entries.value = [...before.slice(0, before.indexOf(entry) + (isAnswer ? 0 : 1)), another]
        const turn = begin(another)
        const key = crypto.getRandomValues(new Uint32Array(4)).join('-')
        const send: AnswerSource['ask'] = (...args) => askAgain(sessionId, message.id, options, key, ...args)
        await run(turn, sessionId, { ask: send, follow: follower(sessionId) }, () => (state.entries.value = before))
    }

    /** Read the answer in progress, if there is one that this tab does not read. */
    function followActive(): void {
        const sessionId = state.sessionId.value
        const entry = state.entries.value.findLast(({ message }) => isActive(message))
        if (state.turn.value || !entry || sessionId === null) return
        const turn = begin(entry)
        turn.isCreated = true
        const source = { messageId: entry.message.id, follow: follower(sessionId) }
        void run(turn, sessionId, source, () => undefined)
    }

    function follower(sessionId: string): AnswerSource['follow'] {
        return (messageId, ...args) => readAnswer(sessionId, messageId, ...args)
    }

    async function cancel(turn: Turn, sessionId: string): Promise<void> {
        await cancelMessage({ path: { session_id: sessionId, message_id: turn.entry.message.id } })
    }

    /** Stop the answer. A question that has not reached the service goes back to the composer. */
    async function stop(): Promise<void> {
        const turn = state.turn.value
        if (!turn) return
        turn.isStopRequested = true
        if (turn.isCreated && state.sessionId.value) await cancel(turn, state.sessionId.value)
        else if (!state.isConnected.value) turn.controller.abort()
    }

    /**
     * Send a question again that was being sent when the page was left. Returns false if there is none. `onSettled` is
     * called when the question is confirmed or given back.
     */
    function resend(onSettled: () => void): boolean {
        const outgoing = outgoingQuestion(state.sessionId.value)
        if (!outgoing || state.turn.value) return false
        void deliver(outgoing, undefined, onSettled)
        return true
    }

    /** Stop reading. A question that is being sent is still delivered; its answer can be read later. */
    function leave(): void {
        const turn = state.turn.value
        state.turn.value = null
        if (turn?.isCreated) turn.controller.abort()
    }

    return { ask, regenerate, followActive, stop, resend, leave }
}
