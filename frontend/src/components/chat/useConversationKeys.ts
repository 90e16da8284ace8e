// Keyboard shortcuts of the conversation. Those of the whole application are in the layout.

import { useEventListener } from '@vueuse/core'

interface KeyActions {
    stop: () => void
    focusComposer: () => void
    copyLastAnswer: () => void
}

/** Escape closes an open dialog, menu or editor first. */
function isOverlayOpen(): boolean {
    return document.querySelector('[role="dialog"], [role="alertdialog"], [role="menu"], [role="listbox"]') !== null
}

export function useConversationKeys({ stop, focusComposer, copyLastAnswer }: KeyActions): void {
    useEventListener(document, 'keydown', (event: KeyboardEvent) => {
        if (event.defaultPrevented || event.isComposing) return
        const hasModifier = event.ctrlKey || event.metaKey
        if (event.key === 'Escape' && event.shiftKey) {
            event.preventDefault()
            focusComposer()
        } else if (event.key === 'Escape' && !isOverlayOpen()) stop()
        else if (hasModifier && event.shiftKey && event.code === 'KeyC') {
            event.preventDefault()
            copyLastAnswer()
        }
    })
}
