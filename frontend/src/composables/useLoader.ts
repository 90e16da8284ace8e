// Data that a page loads: its value, whether it is loading, and the error if it failed.

import { onMounted, ref, shallowRef, type Ref, type ShallowRef } from 'vue'

export interface Loader<T> {
    data: ShallowRef<T | null>
    error: ShallowRef<unknown>
    isLoading: Ref<boolean>
    /** Load again. The value stays until the new one is there. */
    load: () => Promise<void>
}

/** Load data when the component is mounted. */
export function useLoader<T>(request: () => Promise<T>): Loader<T> {
    const data = shallowRef<T | null>(null)
    const error = shallowRef<unknown>(null)
    const isLoading = ref(true)

    async function load(): Promise<void> {
        isLoading.value = true
        error.value = null
        try {
            data.value = await request()
        } catch (failure) {
            error.value = failure
        } finally {
            isLoading.value = false
        }
    }

    onMounted(load)
    return { data, error, isLoading, load }
}
