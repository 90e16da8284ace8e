// Model and settings of the chat on the page: those of its session, or those that a new chat will begin with.

import { defineStore } from 'pinia'
import { computed, ref } from 'vue'
import { updateSession, type MessageCreate } from '@/api/generated/chat'
import { contextWith, settingsOf, type ChatSettings, type Context } from '@/conversation/settings'
import { useModels } from './models'
import { useSessions } from './sessions'

export const useChatSettings = defineStore('chatSettings', () => {
    const models = useModels()
    const sessions = useSessions()
    /** Null: a new chat. */
    const sessionId = ref<string | null>(null)
    const context = ref<Context>({})
    /** Null: the default model. */
    const model = ref<string | null>(null)
    const isLoaded = ref(true)
    const settings = computed(() => settingsOf(context.value))

    /** Show the settings of a session, or the beginning of a new chat. A failure to read them is thrown. */
    async function open(id: string | null): Promise<void> {
        sessionId.value = id
        context.value = {}
        model.value = null
        isLoaded.value = id === null
        await Promise.all([models.load(), id === null ? undefined : read(id)])
        if (id === null && sessionId.value === null) model.value = models.lastChosen()
    }

    async function read(id: string): Promise<void> {
        const session = await sessions.load(id)
        if (sessionId.value !== id) return
        context.value = session.context
        model.value = session.model
        isLoaded.value = true
    }

    /** Go on with the session that a new chat has become, which has the context of its first question. */
    async function adopt(id: string): Promise<void> {
        sessionId.value = id
        if (model.value !== null) await updateSession({ path: { session_id: id }, body: { model: model.value } })
    }

    /** Choose a model. It applies at once, and is taken back if the service refuses it. */
    async function chooseModel(name: string | null): Promise<void> {
        const before = model.value
        const id = sessionId.value
        model.value = name
        models.rememberChoice(name)
        if (id === null) return
        try {
            await updateSession({ path: { session_id: id }, body: { model: name } })
        } catch (error) {
            if (sessionId.value === id) model.value = before
            throw error
        }
    }

    async function saveSettings(changed: ChatSettings): Promise<void> {
        const id = sessionId.value
        const wanted = contextWith(context.value, changed)
        if (id !== null) await updateSession({ path: { session_id: id }, body: { context: wanted } })
        if (sessionId.value === id) context.value = wanted
    }

    /** Return the fields of a question besides its text. Those of a session apply without being sent. */
    function questionFields(): Omit<MessageCreate, 'message'> {
        const { temperature, maxTokens } = settings.value
        const isNew = sessionId.value === null
        return {
            ...(temperature !== null && { temperature }),
            ...(maxTokens !== null && { max_tokens: Math.min(maxTokens, models.maxTokens ?? maxTokens) }),
            ...(isNew && model.value !== null && { model: model.value }),
            ...(isNew && Object.keys(context.value).length > 0 && { context: context.value }),
        }
    }

    return { sessionId, model, settings, context, isLoaded, open, adopt, chooseModel, saveSettings, questionFields }
})
