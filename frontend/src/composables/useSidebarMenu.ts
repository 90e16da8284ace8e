// The sidebar on small screens, where it is a dialog: its name, and the side from which it comes.

import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { LANGUAGES, type Language } from '@/locales'

/** Return the properties of the dialog. The texts of Nuxt UI for it are not translated. */
export function useSidebarMenu(title: () => string) {
    const { locale } = useI18n()
    return computed(() => ({
        title: title(),
        description: '',
        side: LANGUAGES[locale.value as Language].direction === 'rtl' ? ('right' as const) : ('left' as const),
    }))
}
