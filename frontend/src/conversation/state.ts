// State of the conversation that is open on the page.

import { computed, ref, shallowRef } from 'vue'
import type { Entry } from './entries'

/** An answer in progress that this tab reads. */
export interface Turn {
    entry: Entry
    controller: AbortController
    /** Whether the service has confirmed the question. */
    isCreated: boolean
    isStopRequested: boolean
    /** Called when the question is confirmed. */
    onConfirmed?: () => void
}

/** A question that is being edited. */
export interface Edit {
    messageId: string
    text: string
}

export type ConversationState = ReturnType<typeof createState>

export function createState() {
    const sessionId = ref<string | null>(null)
    const entries = shallowRef<Entry[]>([])
    const hasOlder = ref(false)
    const hasNewer = ref(false)
    const isLoading = ref(false)
    const loadError = shallowRef<unknown>(null)
    const isLoadingMore = ref(false)
    const loadMoreError = shallowRef<unknown>(null)
    const turn = shallowRef<Turn | null>(null)
    const isConnected = ref(true)
    /** Why the last question was refused, or its answer could not be read. */
    const turnError = shallowRef<unknown>(null)
    /** Text of a question that was refused. It goes back to the composer. */
    const returnedText = ref<string | null>(null)
    const edit = ref<Edit | null>(null)
    /** Message to bring into view. */
    const target = shallowRef<{ messageId: string; isHighlighted: boolean } | null>(null)
    /** Ends the requests for a conversation when it is left. */
    let scope = new AbortController()

    function reset(id: string | null): void {
        scope.abort()
        scope = new AbortController()
        sessionId.value = id
        entries.value = []
        hasOlder.value = hasNewer.value = isLoading.value = isLoadingMore.value = false
        loadError.value = loadMoreError.value = turnError.value = returnedText.value = null
        turn.value = edit.value = target.value = null
        isConnected.value = true
    }

    return {
        sessionId,
        entries,
        hasOlder,
        hasNewer,
        isLoading,
        loadError,
        isLoadingMore,
        loadMoreError,
        turn,
        isAnswering: computed(() => turn.value !== null),
        isConnected,
        turnError,
        returnedText,
        edit,
        target,
        reset,
        signal: () => scope.signal,
    }
}
