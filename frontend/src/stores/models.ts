// Models that a question may request, and the one that was chosen last in this browser.

import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { listModels, type ModelResponse } from '@/api/generated/chat'
import { MODEL_KEY } from './browserData'

export const useModels = defineStore('models', () => {
    const models = ref<ModelResponse[]>([])
    /** Maximum number of tokens of one answer. Null: not known yet. */
    const maxTokens = ref<number | null>(null)
    const defaultModel = computed(() => models.value.find((model) => model.is_default) ?? null)
    let request: Promise<void> | null = null

    /** Load the models, once. A failure is thrown, and the next call tries again. */
    async function load(): Promise<void> {
        request ??= listModels()
            .then((list) => {
                models.value = list.models
                maxTokens.value = list.max_tokens
            })
            .catch((error: unknown) => {
                request = null
                throw error
            })
        await request
    }

    /** Return the name of the model chosen last, for new chats. Null: the default model, or none that still exists. */
    function lastChosen(): string | null {
        const name = localStorage.getItem(MODEL_KEY)
        const known = models.value.find((model) => model.name === name)
        return known && !known.is_default ? known.name : null
    }

    function rememberChoice(name: string | null): void {
        if (name === null) localStorage.removeItem(MODEL_KEY)
        else localStorage.setItem(MODEL_KEY, name)
    }

    return { models, maxTokens, defaultModel, load, lastChosen, rememberChoice }
})
