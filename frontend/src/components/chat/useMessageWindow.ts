// Scrolling of the list of messages. Only messages near the visible part exist in the document.

import { useVirtualizer, defaultRangeExtractor, type Range } from '@tanstack/vue-virtual'
import { useEventListener } from '@vueuse/core'
import { computed, nextTick, ref, watch, type Ref } from 'vue'
import type { MessageResponse } from '@/api/generated/chat'
import { useConversation } from '@/stores/conversation'

/** For the estimated heights of messages that were not shown yet, in pixels. */
const EMPTY_HEIGHT = 76
const LINE_HEIGHT = 27
const LINE_LENGTH = 80
/** Longer questions are folded. */
const MAX_QUESTION_LINES = 15
/** A reader this near to the end follows a growing answer, in pixels. */
const END_DISTANCE = 64
/** Messages from the edge of the loaded part at which the next page is loaded. */
const LOAD_DISTANCE = 8

function estimateHeight(message: MessageResponse | undefined): number {
    const lines = Math.ceil((message?.content.length ?? 0) / LINE_LENGTH)
    return EMPTY_HEIGHT + LINE_HEIGHT * (message?.role === 'user' ? Math.min(lines, MAX_QUESTION_LINES) : lines)
}

export function useMessageWindow(scroller: Readonly<Ref<HTMLElement | null>>) {
    const conversation = useConversation()
    const isAtEnd = ref(true)
    /** Whether the list was scrolled to where reading begins. Before, its beginning is not what is read. */
    let isPlaced = false
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
            const { entries, isLoadingMore } = conversation
            return {
                count: entries.length,
                getScrollElement: () => scroller.value,
                getItemKey: (index: number) => entries[index]?.key ?? index,
                estimateSize: (index: number) => estimateHeight(entries[index]?.message),
                rangeExtractor: withFocused,
                overscan: 4,
                paddingStart: 24,
                paddingEnd: 24,
                anchorTo: 'end' as const,
                followOnAppend: !isLoadingMore,
                scrollEndThreshold: END_DISTANCE,
            }
        }),
    )
    // What is read stays in its place when a message above it changes its size, whichever way the list is scrolled.
    virtualizer.value.shouldAdjustScrollPositionOnItemSizeChange = (item, _, { itemSizeCache, scrollOffset }) =>
        (itemSizeCache.has(item.key) ? item.end : item.start) <= (scrollOffset ?? 0)
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
        if (!isPlaced || !first || !last || conversation.isLoadingMore || conversation.loadMoreError) return
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

    function scrollToTarget(): boolean {
        const { target, entries } = conversation
        const index = entries.findIndex(({ message }) => message.id === target?.messageId)
        if (!target || index < 0) return false
        virtualizer.value.scrollToIndex(index, { align: target.isHighlighted ? 'center' : 'auto' })
        return true
    }

    // The list begins at a message that was searched for, or at its end.
    watch(
        [() => conversation.target, scroller],
        async ([, element]) => {
            await nextTick()
            if (!element) return
            if (!scrollToTarget() && !isPlaced) virtualizer.value.scrollToEnd()
            isPlaced = true
        },
        { flush: 'post' },
    )

    function indexOf(target: EventTarget | null): number | null {
        const row = target instanceof Element ? target.closest('[data-index]') : null
        return row ? Number(row.getAttribute('data-index')) : null
    }
    useEventListener(scroller, 'focusin', ({ target }) => (focusedIndex.value = indexOf(target)))
    useEventListener(scroller, 'focusout', () => (focusedIndex.value = null))

    return { virtualizer, items, height, isAtEnd, scrollToEnd }
}
