// Loading of a conversation: the session, the newest page of its active branch, and pages before and after it.

import { nextTick } from 'vue'
import { activateBranch, listMessages, type MessagePage } from '@/api/generated/chat'
import { ApiError } from '@/api/problem'
import { mergeNewestPage, updateEntries } from './entries'
import type { ConversationState } from './state'

const PAGE = 50
/** Messages that are loaded on either side of one that is searched for. */
const CONTEXT = 25

export type Loading = ReturnType<typeof createLoading>

interface LoadingHooks {
    loadSession: (sessionId: string) => Promise<unknown>
    /** Called whenever the newest page was read. */
    onNewestPage: () => void
}

export function createLoading(state: ConversationState, { loadSession, onNewestPage }: LoadingHooks) {
    function readPage(query: { before?: string; after?: string; limit?: number }): Promise<MessagePage> {
        const id = state.sessionId.value ?? ''
        return listMessages({ path: { session_id: id }, query: { limit: PAGE, ...query }, signal: state.signal() })
    }

    function showNewestPage(page: MessagePage): void {
        const { entries, hasOlder } = mergeNewestPage(state.entries.value, page, state.turn.value?.entry)
        state.entries.value = entries
        if (hasOlder !== null) state.hasOlder.value = hasOlder
        state.hasNewer.value = false
        onNewestPage()
    }

    /** Load a conversation; `messageId`: a message to show, on whichever branch. */
    async function load(messageId?: string): Promise<void> {
        const signal = state.signal()
        state.isLoading.value = true
        state.loadError.value = null
        try {
            const [page] = await Promise.all([
                messageId ? null : readPage({}),
                loadSession(state.sessionId.value ?? ''),
            ])
            if (signal.aborted) return
            if (page) showNewestPage(page)
            else if (messageId) await showMessage(messageId)
        } catch (error) {
            if (!signal.aborted) state.loadError.value = error
        } finally {
            if (!signal.aborted) state.isLoading.value = false
        }
    }

    /** Read the newest page again, and update what is shown. */
    async function refresh(): Promise<void> {
        const signal = state.signal()
        const page = await readPage({})
        if (!signal.aborted) showNewestPage(page)
    }

    /** Show a message: it is loaded, with those around it, and its branch activated, where necessary. */
    async function showMessage(messageId: string): Promise<void> {
        const signal = state.signal()
        if (!state.entries.value.some(({ message }) => message.id === messageId)) {
            const isFound = await loadAround(messageId)
            if (!isFound) await activate(messageId)
        }
        if (!signal.aborted) state.target.value = { messageId, isHighlighted: true }
    }

    /** Load the part of the active branch around a message. Returns false if the message is not on this branch. */
    async function loadAround(messageId: string): Promise<boolean> {
        const signal = state.signal()
        try {
            const newer = await readPage({ after: messageId, limit: CONTEXT })
            const next = newer.messages[0]
            const older = await readPage(next ? { before: next.id, limit: CONTEXT } : {})
            if (signal.aborted) return true
            const page = [...older.messages, ...newer.messages]
            state.entries.value = updateEntries(state.entries.value, page, state.turn.value?.entry)
            state.hasOlder.value = older.has_older
            state.hasNewer.value = newer.has_newer
            if (!newer.has_newer) onNewestPage()
            return true
        } catch (error) {
            if (error instanceof ApiError && error.status === 422) return false
            throw error
        }
    }

    /** Select the branch with a message, and show it. */
    async function activate(messageId: string): Promise<void> {
        const signal = state.signal()
        const path = { session_id: state.sessionId.value ?? '' }
        const page = await activateBranch({ path, body: { message_id: messageId }, signal })
        if (signal.aborted) return
        if (page.messages.some(({ id }) => id === messageId) || !page.has_older) showNewestPage(page)
        else await loadAround(messageId)
    }

    /** Load the page before or after those that are shown. */
    async function loadMore(direction: 'older' | 'newer'): Promise<void> {
        const isOlder = direction === 'older'
        const edge = isOlder ? state.entries.value[0] : state.entries.value.at(-1)
        if (!edge || state.isLoadingMore.value || !(isOlder ? state.hasOlder : state.hasNewer).value) return
        const signal = state.signal()
        state.isLoadingMore.value = true
        state.loadMoreError.value = null
        try {
            const page = await readPage(isOlder ? { before: edge.message.id } : { after: edge.message.id })
            // The branch may have changed meanwhile.
            if (signal.aborted || !state.entries.value.includes(edge)) return
            const added = updateEntries([], page.messages, state.turn.value?.entry)
            state.entries.value = isOlder ? [...added, ...state.entries.value] : [...state.entries.value, ...added]
            // The list shows them while it knows that they are more of the same, not new messages.
            await nextTick()
            if (signal.aborted) return
            if (isOlder) state.hasOlder.value = page.has_older
            else state.hasNewer.value = page.has_newer
            if (!isOlder && !page.has_newer) onNewestPage()
        } catch (error) {
            if (!signal.aborted) state.loadMoreError.value = error
        } finally {
            if (!signal.aborted) state.isLoadingMore.value = false
        }
    }

    return { load, refresh, showMessage, activate, loadMore }
}
