// Scrolling of the list of messages. Only messages near the visible part exist in the document.

import { useVirtualizer, defaultRangeExtractor, type Range } from '@tanstack/vue-virtual'
import { useEventListener } from '@vueuse/core'
import { computed, nextTick, ref, watch, type Ref } from 'vue'
import { useConversation } from '@/stores/conversation'

/** Estimated heights of messages that were not shown yet, in pixels. */
const QUESTION_HEIGHT = 96
const ANSWER_HEIGHT = 260
/** A reader this near to the end follows a growing answer, in pixels. */
const END_DISTANCE = 64
/** Messages from the edge of the loaded part at which the next page is loaded. */
const LOAD_DISTANCE = 8

export function useMessageWindow(scroller: Readonly<Ref<HTMLElement | null>>) {
    const conversation = useConversation()
    const isAtEnd = ref(true)
    /** The message with the focus stays in the document when it is scrolled away. */
    const focusedIndex = ref<number | null>(null)

    function withFocused(range: Range): number[] {
        const indexes = defaultRangeExtractor(range)
        const focused = focusedIndex.value
        if (focused === null || focused >= range.count || indexes.includes(focused)) return indexes
        return [...indexes, focused].sort((a, b) => a - b)
    }

    const virtualizer = useVirtualizer<HTMLElement, HTMLElement>(
        computed(() => {
            const { entries } = conversation
            return {
                count: entries.length,
                getScrollElement: () => scroller.value,
                getItemKey: (index: number) => entries[index]?.key ?? index,
                estimateSize: (index: number) =>
                    entries[index]?.message.role === 'user' ? QUESTION_HEIGHT : ANSWER_HEIGHT,
                rangeExtractor: withFocused,
                overscan: 4,
                paddingStart: 24,
                paddingEnd: 24,
                anchorTo: 'end' as const,
                followOnAppend: true,
                scrollEndThreshold: END_DISTANCE,
            }
        }),
    )
    const items = computed(() => virtualizer.value.getVirtualItems())
    const height = computed(() => virtualizer.value.getTotalSize())

    function measureEnd(): void {
        const element = scroller.value
        if (element) isAtEnd.value = element.scrollHeight - element.scrollTop - element.clientHeight <= END_DISTANCE
    }
    useEventListener(scroller, 'scroll', measureEnd, { passive: true })
    watch(height, measureEnd, { flush: 'post' })

    watch(items, (shown) => {
        const [first, last] = [shown[0], shown.at(-1)]
        if (!first || !last || conversation.isLoadingMore || conversation.loadMoreError) return
        if (first.index < LOAD_DISTANCE && conversation.hasOlder) void conversation.loadMore('older')
        else if (last.index >= conversation.entries.length - LOAD_DISTANCE && conversation.hasNewer)
            void conversation.loadMore('newer')
    })

    async function scrollToEnd(): Promise<void> {
        if (conversation.hasNewer) await conversation.showNewest()
        await nextTick()
        virtualizer.value.scrollToEnd()
    }

    // The reader's own question is shown wherever they were reading.
    watch(
        () => conversation.turn,
        (turn) => {
            if (turn && !turn.isCreated) void scrollToEnd()
        },
    )

    watch(
        () => conversation.target,
        async (target) => {
            await nextTick()
            const index = conversation.entries.findIndex(({ message }) => message.id === target?.messageId)
            if (!target || index < 0) return
            virtualizer.value.scrollToIndex(index, { align: target.isHighlighted ? 'center' : 'auto' })
        },
        { flush: 'post', immediate: true },
    )

    function indexOf(target: EventTarget | null): number | null {
        const row = target instanceof Element ? target.closest('[data-index]') : null
        return row ? Number(row.getAttribute('data-index')) : null
    }
    useEventListener(scroller, 'focusin', ({ target }) => (focusedIndex.value = indexOf(target)))
    useEventListener(scroller, 'focusout', () => (focusedIndex.value = null))

    return { virtualizer, items, height, isAtEnd, scrollToEnd }
}
