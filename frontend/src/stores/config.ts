// Public configuration of the installation, available before a login: its name, limits, and enabled functions.

import { defineStore } from 'pinia'
import { ref } from 'vue'
import { getConfig, type PublicConfig } from '@/api/generated/auth'

export const useConfig = defineStore('config', () => {
    const config = ref<PublicConfig | null>(null)
    let request: Promise<PublicConfig> | null = null

    /** Return the configuration, requested once. A failure is thrown, and the next call requests it again. */
    async function load(): Promise<PublicConfig> {
        request ??= getConfig().catch((error) => {
            request = null
            throw error
        })
        config.value = await request
        return config.value
    }

    return { config, load }
})
