// Text of the question being written, kept as the draft of its session.

import { useDebounceFn, useEventListener } from '@vueuse/core'
import { onBeforeUnmount, ref, watch } from 'vue'
import { useDrafts } from '@/stores/drafts'

const SAVE_DELAY = 300

export function useDraft(sessionId: () => string | undefined) {
    const drafts = useDrafts()
    const text = ref(drafts.load(sessionId()))
    /** The question that was sent and is not yet accepted. */
    let sent: string | null = null

    function save(): void {
        drafts.save(sessionId(), text.value)
    }
    const saveSoon = useDebounceFn(save, SAVE_DELAY)
    watch(text, () => void saveSoon())
    useEventListener(window, 'pagehide', save)
    onBeforeUnmount(save)

    watch(sessionId, (id, previous) => {
        const isCreated = previous === undefined && sent !== null
        drafts.save(previous, isCreated ? '' : text.value)
        if (!isCreated) text.value = drafts.load(id)
    })

    /** Return the question to send. It stays in the field until it is accepted. */
    function submit(): string {
        sent = text.value
        return sent
    }

    /** Clear the field after its text was sent, unless it has been changed since. */
    function accept(): void {
        if (sent === text.value) {
            text.value = ''
            save()
        }
    }

    return { text, submit, accept }
}
