// Keyboard shortcuts of the chat, at work also while the user types.

import { useKbd } from '@nuxt/ui/composables'
import { useEventListener } from '@vueuse/core'
import { actionOf, type LayoutAction } from './shortcuts'

/** Run the actions of the shortcuts, also while something is typed. */
export function useLayoutShortcuts(actions: Record<LayoutAction, () => void>): void {
    const { macOS } = useKbd()
    useEventListener(window, 'keydown', (event) => {
        const action = actionOf(event, Boolean(macOS.value))
        if (action === null || event.repeat) return
        event.preventDefault()
        actions[action]()
    })
}
