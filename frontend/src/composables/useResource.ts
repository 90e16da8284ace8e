// Data of a page, loaded from a service.

import { onScopeDispose, ref, shallowRef, watch } from 'vue'

/**
 * Load data now, whenever `key` changes, and on `reload`. The request before is aborted. While a request runs, the
 * data of the one before stays, so that the page does not flicker. An error stays until the next success.
 */
export function useResource<T>(load: (signal: AbortSignal) => Promise<T>, key: () => unknown = () => null) {
    const data = shallowRef<T | null>(null)
    const error = shallowRef<unknown>(null)
    const isLoading = ref(false)
    let controller = new AbortController()

    async function reload(): Promise<void> {
        controller.abort()
        controller = new AbortController()
        const { signal } = controller
        isLoading.value = true
        try {
            const loaded = await load(signal)
            if (signal.aborted) return
            data.value = loaded
            error.value = null
        } catch (exception) {
            if (signal.aborted) return
            error.value = exception
        }
        isLoading.value = false
    }

    watch(
        () => JSON.stringify(key()),
        () => void reload(),
        { immediate: true },
    )
    onScopeDispose(() => controller.abort())
    return { data, error, isLoading, reload }
}
