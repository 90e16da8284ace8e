// The import of conversations of this tab. It goes on, and keeps its report, when its dialog is closed.

import { defineStore } from 'pinia'
import { ref, shallowRef } from 'vue'
import type { ImportResponse } from '@/api/generated/chat'
import { onSessionEnd } from '@/api/tokens'
import { importFile } from '@/transfer/importer'
import { useSessions } from './sessions'

export const useImports = defineStore('imports', () => {
    const fileName = ref('')
    const isRunning = ref(false)
    /** State at the service. Null while the file is uploaded, and before. */
    const state = shallowRef<ImportResponse | null>(null)
    const error = shallowRef<unknown>(null)

    async function start(file: File): Promise<void> {
        if (isRunning.value) return
        reset()
        fileName.value = file.name
        isRunning.value = true
        try {
            state.value = await importFile(file, (next) => (state.value = next))
        } catch (exception) {
            error.value = exception
        } finally {
            isRunning.value = false
            useSessions().reload()
        }
    }

    function reset(): void {
        fileName.value = ''
        state.value = null
        error.value = null
    }

    onSessionEnd(reset)

    return { fileName, isRunning, state, error, start, reset }
})
