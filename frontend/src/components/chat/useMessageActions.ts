// Actions on messages, with a message to the user where one fails or where its effect is not visible.

import { useOverlay, useToast } from '@nuxt/ui/composables'
import { useClipboard } from '@vueuse/core'
import { defineAsyncComponent } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRouter } from 'vue-router'
import type { AnswerCreate, FeedbackRequest } from '@/api/generated/chat'
import { ApiError } from '@/api/problem'
import { useErrorToast } from '@/composables/useErrorToast'
import type { Entry } from '@/conversation/entries'
import { useConversation } from '@/stores/conversation'

const ConfirmDialog = defineAsyncComponent(() => import('@/components/common/ConfirmDialog.vue'))

export function useMessageActions() {
    const { t } = useI18n()
    const router = useRouter()
    const toast = useToast()
    const overlay = useOverlay()
    const conversation = useConversation()
    const showError = useErrorToast('chat')
    const clipboard = useClipboard({ legacy: true })

    async function attempt(action: () => Promise<unknown>): Promise<boolean> {
        try {
            await action()
            return true
        } catch (error) {
            showError(error)
            return false
        }
    }

    function confirm(text: string): void {
        toast.add({ title: text, color: 'success', icon: 'i-lucide-check', duration: 2000 })
    }

    /** Copy the text of a message, as Markdown. Returns whether the browser allowed it. */
    function copy({ message }: Entry): Promise<boolean> {
        return attempt(async () => {
            await clipboard.copy(message.content).catch(() => {
                throw new ApiError({ code: 'copy_failed' })
            })
        })
    }

    async function copyLastAnswer(entry: Entry | null): Promise<void> {
        if (entry && (await copy(entry))) confirm(t('common.actions.copied'))
    }

    function stop(): Promise<boolean> {
        return attempt(conversation.stop)
    }

    function regenerate(entry: Entry, options?: AnswerCreate): Promise<boolean> {
        return attempt(() => conversation.regenerate(entry, options))
    }

    function continueAnswer(): Promise<boolean> {
        return attempt(() => conversation.ask({ message: t('chat.continueQuestion') }))
    }

    function showVersion(messageId: string): Promise<boolean> {
        return attempt(() => conversation.showVersion(messageId))
    }

    async function rate(entry: Entry, feedback: FeedbackRequest | null): Promise<boolean> {
        return attempt(() => conversation.rate(entry, feedback))
    }

    async function fork(entry: Entry): Promise<void> {
        await attempt(async () => {
            const sessionId = await conversation.fork(entry)
            await router.push({ name: 'chat', params: { sessionId } })
        })
    }

    async function remove(entry: Entry): Promise<void> {
        const isQuestion = entry.message.role === 'user'
        const isConfirmed = await overlay.create(ConfirmDialog, { destroyOnClose: true }).open({
            title: t(isQuestion ? 'chat.delete.titleQuestion' : 'chat.delete.titleAnswer'),
            text: t('chat.delete.text'),
            confirmLabel: t('common.actions.delete'),
            danger: true,
        })
        if (isConfirmed && (await attempt(() => conversation.remove(entry)))) confirm(t('chat.delete.done'))
    }

    return {
        attempt,
        confirm,
        copy,
        copyLastAnswer,
        stop,
        regenerate,
        continueAnswer,
        showVersion,
        rate,
        fork,
        remove,
    }
}
