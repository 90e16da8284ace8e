// Limits of the installation for what users enter.

import { computed, type ComputedRef } from 'vue'
import type { Limits } from '@/api/generated/auth'
import { useConfig } from '@/stores/config'

/** The service's defaults, until its configuration is known. It checks all of them itself too. */
const DEFAULTS: Limits = {
    full_name_length: 200,
    message_length: 32_000,
    system_prompt_length: 4000,
    session_title_length: 200,
    tags: 20,
    tag_length: 50,
    feedback_comment_length: 2000,
    search_length: 200,
    api_keys: 20,
    import_bytes: 104_857_600,
}

export function useLimits(): ComputedRef<Limits> {
    const store = useConfig()
    void store.load().catch(() => undefined)
    return computed(() => store.config?.limits ?? DEFAULTS)
}
