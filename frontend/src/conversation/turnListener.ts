// What happens to the conversation on the page while an answer is read.

import type { MessageCreatedEvent, SessionCreated } from '@/api/generated/chat'
import { replaceMessage } from './entries'
import type { AnswerListener, AnswerOutcome } from './followAnswer'
import { onceAFrame } from './onceAFrame'
import type { ConversationState, Turn } from './state'
import { announceChange } from './tabs'

/** Told about changes of sessions, for lists of them. */
export interface SessionObserver {
    created(session: SessionCreated): void
    /** A question was asked, or answered. */
    used(sessionId: string, newMessages: number): void
    titled(sessionId: string, title: string): void
}

interface Context {
    observer: SessionObserver
    cancel: (turn: Turn, sessionId: string) => Promise<void>
}

export function turnListener(
    state: ConversationState,
    turn: Turn,
    sessionId: string,
    { observer, cancel }: Context,
): AnswerListener & { end(outcome: AnswerOutcome): void } {
    const isShown = () => state.turn.value === turn
    const frame = onceAFrame((content: string) => {
        turn.entry.message = { ...turn.entry.message, content, status: 'streaming' }
    })

    /** Give the question and the answer on the page their ids. */
    function adopt({ message_id: answerId, user_message: question }: MessageCreatedEvent): void {
        const entries = state.entries.value
        const asked = entries[entries.indexOf(turn.entry) - 1]
        if (asked && asked.message.id !== question.id) replaceMessage(asked, question)
        const { message } = turn.entry
        replaceMessage(turn.entry, { ...message, id: answerId, parent_id: question.id })
    }

    return {
        onCreated(event) {
            turn.isCreated = true
            turn.onConfirmed?.()
            announceChange(sessionId)
            observer.used(sessionId, 2)
            if (!isShown()) return turn.controller.abort()
            adopt(event)
            // A failure is shown by the answer going on.
            if (turn.isStopRequested) void cancel(turn, sessionId).catch(() => undefined)
        },
        onText: frame.write,
        onTitle(title) {
            observer.titled(sessionId, title)
        },
        onConnection(isConnected) {
            if (isShown()) state.isConnected.value = isConnected
        },
        end({ message, proof }) {
            frame.cancel()
            replaceMessage(turn.entry, message)
            turn.entry.proof = proof
            announceChange(sessionId)
            observer.used(sessionId, 0)
        },
    }
}
