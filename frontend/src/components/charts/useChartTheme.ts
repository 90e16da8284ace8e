// Colours and motion of charts: those of the page, also after the reader has changed them.

import { useMediaQuery, useMutationObserver } from '@vueuse/core'
import { computed, ref } from 'vue'
import './palette.css'

export function useChartTheme() {
    const version = ref(0)
    const reducedMotion = useMediaQuery('(prefers-reduced-motion: reduce)')
    const moreContrast = useMediaQuery('(prefers-contrast: more)')
    useMutationObserver(document.documentElement, () => version.value++, { attributeFilter: ['class'] })

    const theme = computed(() => {
        void version.value
        void moreContrast.value
        const style = getComputedStyle(document.documentElement)
        const color = (name: string) => style.getPropertyValue(name).trim()
        return {
            color,
            text: color('--ui-text-muted'),
            strong: color('--ui-text-highlighted'),
            grid: color('--ui-border'),
            background: color('--ui-bg'),
            font: style.fontFamily,
        }
    })
    const animation = computed(() => (reducedMotion.value ? (false as const) : { duration: 250 }))
    return { theme, animation }
}
