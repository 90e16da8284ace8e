// Updates of the list of sessions, and of its marks of answers in progress, while the chat is open.

import { useEventListener } from '@vueuse/core'
import { onScopeDispose, watch } from 'vue'
import { useRoute } from 'vue-router'
import { useActiveAnswers } from '@/stores/activeAnswers'
import { useSessions } from '@/stores/sessions'

/** The list is not read again sooner than this after the last time, in milliseconds. */
const MIN_INTERVAL = 10_000

export function useSessionSync(): void {
    const route = useRoute()
    const sessions = useSessions()
    const active = useActiveAnswers()
    let refreshedAt = Date.now()

    /** Another device may have changed something while this page was in the background or without a network. */
    function catchUp(): void {
        if (document.hidden) return
        void active.check()
        if (Date.now() - refreshedAt < MIN_INTERVAL) return
        refreshedAt = Date.now()
        void sessions.refresh()
    }

    useEventListener(document, 'visibilitychange', catchUp)
    useEventListener(window, ['focus', 'online'], catchUp)
    // An answer that goes on in a conversation that was left is marked in the list.
    watch(
        () => route.params.sessionId,
        () => void active.check(),
        { immediate: true },
    )
    // Its end has moved the session to the top, and may have given it a title.
    onScopeDispose(active.onEnd(() => void sessions.refresh()))
    void sessions.refresh()
}
