// Search of the conversations while the user types: the last input counts, and requests for earlier ones are aborted.

import { watchDebounced } from '@vueuse/core'
import { computed, onScopeDispose, ref, shallowRef, type Ref } from 'vue'
import { searchConversations, type SearchHit } from '@/api/generated/chat'
import { useLimits } from '@/composables/useLimits'

export type SearchIn = 'both' | 'titles' | 'messages'

const DEBOUNCE = 200
const PAGE_SIZE = 20

export function useSearch(text: Ref<string>, searchIn: Ref<SearchIn>) {
    const limits = useLimits()
    const hits = shallowRef<SearchHit[]>([])
    const cursor = ref<string | null>(null)
    const isLoading = ref(false)
    const error = shallowRef<unknown>(null)
    /** The input that the hits belong to; empty: none. */
    const searched = ref('')
    const query = computed(() => text.value.trim().slice(0, limits.value.search_length))
    let request: AbortController | null = null

    async function load(isNext: boolean): Promise<void> {
        request?.abort()
        error.value = null
        const q = query.value
        if (q === '') {
            hits.value = []
            cursor.value = null
            searched.value = ''
            isLoading.value = false
            return
        }
        const own = (request = new AbortController())
        isLoading.value = true
        try {
            const page = await searchConversations({
                query: {
                    q,
                    in: searchIn.value,
                    limit: PAGE_SIZE,
                    ...(isNext ? { cursor: cursor.value ?? undefined } : {}),
                },
                signal: own.signal,
            })
            if (own.signal.aborted) return
            hits.value = isNext ? [...hits.value, ...page.hits] : page.hits
            cursor.value = page.next_cursor
            searched.value = q
        } catch (exception) {
            if (!own.signal.aborted) error.value = exception
        } finally {
            if (request === own) isLoading.value = false
        }
    }

    watchDebounced([query, searchIn], () => load(false), { debounce: DEBOUNCE })
    onScopeDispose(() => request?.abort())

    return {
        ...{ hits, isLoading, error, searched },
        hasMore: computed(() => cursor.value !== null),
        loadMore: () => load(true),
        retry: () => load(false),
    }
}
