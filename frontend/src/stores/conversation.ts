// The conversation that is open on the page, kept up to date with the service and with other tabs.

import { defineStore } from 'pinia'
import { computed } from 'vue'
import {
    deleteMessage,
    duplicateSession,
    storeFeedback,
    withdrawFeedback,
    type FeedbackRequest,
    type MessageCreate,
} from '@/api/generated/chat'
import { ApiError } from '@/api/problem'
import type { Entry } from '@/conversation/entries'
import { createLoading } from '@/conversation/loading'
import { createState } from '@/conversation/state'
import { announceChange, onChangeElsewhere } from '@/conversation/tabs'
import type { SessionObserver } from '@/conversation/turnListener'
import { createTurns } from '@/conversation/turns'
import { useSessions } from './sessions'

/** Milliseconds between two times that a conversation is read again because its page becomes visible. */
const REFRESH_INTERVAL = 2000

export const useConversation = defineStore('conversation', () => {
    const state = createState()
    const { sessionId, entries, turn } = state
    const sessions = useSessions()
    const session = computed(() => (sessionId.value === null ? undefined : sessions.find(sessionId.value)))
    const loading = createLoading(state, {
        loadSession: (id) => sessions.load(id),
        onNewestPage: () => turns.followActive(),
    })

    const observer: SessionObserver = {
        created: sessions.add,
        used(id, newMessages) {
            const known = sessions.find(id)
            if (known)
                sessions.touch(id, {
                    updated_at: new Date().toISOString(),
                    message_count: known.message_count + newMessages,
                })
        },
        titled: sessions.applyTitle,
    }

    /** Show the state of the service after a turn was refused or its answer could not be read. */
    async function recover(error: unknown): Promise<void> {
        if (sessionId.value === null) return
        try {
            await loading.refresh()
            // The answer in progress may be on another branch.
            if (error instanceof ApiError && error.code === 'turn_active' && error.messageId && !turn.value)
                await loading.activate(error.messageId)
        } catch {
            // The page shows what it has, and is read again when it becomes visible.
        }
    }

    const turns = createTurns(state, recover, observer)

    /** Open a conversation, or an empty one. `messageId`: a message to show. */
    async function open(id: string | null, messageId?: string): Promise<void> {
        if (id === sessionId.value && (entries.value.length > 0 || state.isLoading.value)) {
            if (messageId) await loading.showMessage(messageId)
            return
        }
        turns.leave()
        state.reset(id)
        if (turns.resend(() => void (sessionId.value && loading.load()))) return
        if (id !== null) await loading.load(messageId)
    }

    function close(): void {
        turns.leave()
        state.reset(null)
    }

    async function ask(question: MessageCreate): Promise<void> {
        if (state.hasNewer.value) await loading.refresh()
        await turns.ask(question)
    }

    async function submitEdit(entry: Entry, text: string): Promise<void> {
        state.edit.value = null
        await turns.ask({ message: text }, entry)
    }

    /** Read the conversation again if it is idle: another tab or device may have changed it. */
    let refreshedAt = 0
    async function refreshIfIdle(): Promise<void> {
        const isBusy = turn.value || state.isLoading.value || state.hasNewer.value
        if (sessionId.value === null || isBusy || Date.now() - refreshedAt < REFRESH_INTERVAL) return
        refreshedAt = Date.now()
        await loading.refresh().catch(() => undefined)
    }

    function pathOf(entry: Entry) {
        return { session_id: sessionId.value ?? '', message_id: entry.message.id }
    }

    /** Delete a message with all that follows it. */
    async function remove(entry: Entry): Promise<void> {
        const path = pathOf(entry)
        await deleteMessage({ path })
        announceChange(path.session_id)
        if (sessionId.value !== path.session_id) return
        entries.value = entries.value.slice(0, entries.value.indexOf(entry))
        await loading.refresh()
    }

    /** Show another version of a message. */
    async function showVersion(messageId: string): Promise<void> {
        await loading.activate(messageId)
        state.target.value = { messageId, isHighlighted: false }
        if (sessionId.value) announceChange(sessionId.value)
    }

    async function rate(entry: Entry, body: FeedbackRequest | null): Promise<void> {
        const path = pathOf(entry)
        const feedback = body ? await storeFeedback({ path, body }) : null
        if (!body) await withdrawFeedback({ path })
        entry.message = { ...entry.message, feedback }
    }

    /** Copy the conversation up to a message into a new session, and return its id. */
    async function fork(entry: Entry): Promise<string> {
        const { session_id, message_id } = pathOf(entry)
        const copy = await duplicateSession({ path: { session_id }, body: { message_id } })
        return copy.session_id
    }

    onChangeElsewhere((id) => {
        refreshedAt = 0
        if (id === sessionId.value) void refreshIfIdle()
    })

    return {
        ...state,
        session,
        open,
        close,
        ask,
        submitEdit,
        refreshIfIdle,
        remove,
        showVersion,
        rate,
        fork,
        stop: turns.stop,
        regenerate: turns.regenerate,
        loadMore: loading.loadMore,
        showNewest: loading.refresh,
    }
})
