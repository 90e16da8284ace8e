// Actions on sessions, with their dialogs, messages and navigation.

import { useOverlay, useToast } from '@nuxt/ui/composables'
import { defineAsyncComponent } from 'vue'
import { useI18n } from 'vue-i18n'
import { useRoute, useRouter } from 'vue-router'
import { useErrorToast } from '@/composables/useErrorToast'
import { removeInvisible } from '@/markdown/invisible'
import { useSessions, type Session, type SessionChanges } from '@/stores/sessions'
import type { Selection } from '@/stores/sessions/bulk'
import { exportSession, type ExportFormat } from '@/transfer/exporter'

const ConfirmDialog = defineAsyncComponent(() => import('@/components/common/ConfirmDialog.vue'))
const RenameDialog = defineAsyncComponent(() => import('./RenameDialog.vue'))
const TagsDialog = defineAsyncComponent(() => import('./TagsDialog.vue'))
const ShareDialog = defineAsyncComponent(() => import('@/components/sharing/ShareDialog.vue'))

export function useSessionActions() {
    const { t } = useI18n()
    const route = useRoute()
    const router = useRouter()
    const toast = useToast()
    const overlay = useOverlay()
    const sessions = useSessions()
    const showError = useErrorToast('sidebar')

    /** Run an action and report its failure. Returns whether it succeeded. */
    async function attempt(action: () => Promise<unknown>, failure: string): Promise<boolean> {
        try {
            await action()
            return true
        } catch (error) {
            showError(error, t(failure))
            return false
        }
    }

    async function leave(ids: string[] | 'all'): Promise<void> {
        const open = route.params.sessionId
        if (typeof open === 'string' && (ids === 'all' || ids.includes(open))) await router.push({ name: 'new-chat' })
    }

    async function rename(session: Session, title: string): Promise<void> {
        const text = removeInvisible(title).trim()
        if (text && text !== session.title) await change(session, { title: text })
    }

    function change(session: Session, changes: SessionChanges): Promise<boolean> {
        return attempt(() => sessions.update(session, changes), 'sidebar.failures.change')
    }

    function openRename(session: Session): void {
        overlay.create(RenameDialog, { destroyOnClose: true }).open({ session })
    }

    function openTags(session: Session): void {
        overlay.create(TagsDialog, { destroyOnClose: true }).open({ session })
    }

    function openShare(session: Session): void {
        overlay.create(ShareDialog, { destroyOnClose: true }).open({ session })
    }

    async function duplicate(session: Session): Promise<void> {
        // Not `randomUUID`, which exists on secure origins only.
        const key = crypto.getRandomValues(new Uint32Array(4)).join('-')
        await attempt(async () => {
            const copy = await sessions.duplicate(session, key)
            await router.push({ name: 'chat', params: { sessionId: copy.session_id } })
        }, 'sidebar.failures.duplicate')
    }

    async function save(session: Session, format: ExportFormat): Promise<void> {
        await attempt(() => exportSession(session.session_id, format), 'sidebar.failures.export')
    }

    function confirm(props: { title: string; text: string; confirmLabel: string; phrase?: string }): Promise<boolean> {
        const dialog = overlay.create(ConfirmDialog, { destroyOnClose: true })
        return dialog.open({ ...props, danger: true }) as Promise<boolean>
    }

    async function setArchived(session: Session, archived: boolean): Promise<void> {
        if (!(await change(session, { is_archived: archived }))) return
        toast.add({
            title: t(archived ? 'sidebar.archived' : 'sidebar.unarchived'),
            icon: archived ? 'i-lucide-archive' : 'i-lucide-archive-restore',
            actions: [
                {
                    label: t('sidebar.undo'),
                    variant: 'outline',
                    color: 'neutral',
                    onClick: () => void change(session, { is_archived: !archived }),
                },
            ],
        })
    }

    /** Delete a session after confirmation: the service cannot bring it back. */
    async function remove(session: Session): Promise<void> {
        const title = t('sidebar.deleteOne.title')
        const text = t('sidebar.deleteOne.text', { title: session.title })
        if (!(await confirm({ title, text, confirmLabel: t('common.actions.delete') }))) return
        await removeNow([session.session_id])
    }

    async function removeNow(selection: Selection): Promise<void> {
        await leave(selection)
        await attempt(() => sessions.remove(selection), 'sidebar.failures.delete')
    }

    /** Delete the selected sessions after confirmation. Returns whether they were confirmed. */
    async function removeMany(ids: string[]): Promise<boolean> {
        const title = t('sidebar.deleteMany.title', ids.length)
        const isConfirmed = await confirm({
            title,
            text: t('sidebar.deleteMany.text'),
            confirmLabel: t('common.actions.delete'),
        })
        if (isConfirmed) await removeNow(ids)
        return isConfirmed
    }

    /** Delete all sessions, after a word was typed. */
    async function removeAll(): Promise<void> {
        const isConfirmed = await confirm({
            title: t('sidebar.deleteAll.title'),
            text: t('sidebar.deleteAll.text'),
            confirmLabel: t('sidebar.deleteAll.action'),
            phrase: t('sidebar.deleteAll.phrase'),
        })
        if (isConfirmed) await removeNow('all')
    }

    async function archiveMany(ids: string[], archived: boolean): Promise<void> {
        await attempt(() => sessions.archive(ids, archived), 'sidebar.failures.change')
    }

    return {
        ...{ rename, change, openRename, openTags, openShare, duplicate, save, setArchived },
        ...{ remove, removeMany, removeAll, archiveMany },
    }
}
