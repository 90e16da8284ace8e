// Names of the models that answers may be asked of. They are loaded once.

import { shallowRef } from 'vue'
import { listModels } from '@/api/generated/chat'

const names = shallowRef<string[]>([])
let loading: Promise<void> | null = null

export function useModelNames() {
    /** Load the names if they are not known. A failure is not kept: the next call tries again. */
    async function load(): Promise<void> {
        loading ??= listModels().then(({ models }) => {
            names.value = models.map((model) => model.name)
        })
        await loading.catch(() => {
            loading = null
        })
    }

    return { names, load }
}
