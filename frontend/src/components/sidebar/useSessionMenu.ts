// What the menu of a session offers, in the list and in the header of the conversation.

import type { DropdownMenuItem } from '@nuxt/ui'
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { useConfig } from '@/stores/config'
import type { Session } from '@/stores/sessions'
import { useSessionActions } from './useSessionActions'

/** Return the items. `rename` edits the title where it is shown; without it, there is a dialog. */
export function useSessionMenu(getSession: () => Session, rename?: () => void) {
    const { t } = useI18n()
    const actions = useSessionActions()
    const config = useConfig()

    return computed<DropdownMenuItem[][]>(() => {
        const session = getSession()
        const { is_archived: isArchived, is_pinned: isPinned } = session
        return [
            [
                {
                    label: t('sidebar.menu.rename'),
                    icon: 'i-lucide-pencil',
                    onSelect: () => (rename ? rename() : actions.openRename(session)),
                },
                {
                    label: t(isPinned ? 'sidebar.menu.unpin' : 'sidebar.menu.pin'),
                    icon: isPinned ? 'i-lucide-pin-off' : 'i-lucide-pin',
                    onSelect: () => void actions.change(session, { is_pinned: !isPinned }),
                },
                { label: t('sidebar.menu.tags'), icon: 'i-lucide-tag', onSelect: () => actions.openTags(session) },
                {
                    label: t(isArchived ? 'sidebar.menu.unarchive' : 'sidebar.menu.archive'),
                    icon: isArchived ? 'i-lucide-archive-restore' : 'i-lucide-archive',
                    onSelect: () => void actions.setArchived(session, !isArchived),
                },
            ],
            [
                ...(config.config?.sharing_enabled === false
                    ? []
                    : [
                          {
                              label: t('sidebar.menu.share'),
                              icon: 'i-lucide-share-2',
                              onSelect: () => actions.openShare(session),
                          },
                      ]),
                {
                    label: t('sidebar.menu.duplicate'),
                    icon: 'i-lucide-copy',
                    onSelect: () => void actions.duplicate(session),
                },
                {
                    label: t('sidebar.menu.export'),
                    icon: 'i-lucide-download',
                    children: (['md', 'txt', 'json'] as const).map((format) => ({
                        label: t(`sidebar.formats.${format}`),
                        onSelect: () => void actions.save(session, format),
                    })),
                },
            ],
            [
                {
                    label: t('sidebar.menu.delete'),
                    icon: 'i-lucide-trash-2',
                    color: 'error',
                    onSelect: () => void actions.remove(session),
                },
            ],
        ]
    })
}
