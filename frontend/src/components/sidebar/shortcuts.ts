// Keyboard shortcuts of the frame of the chat, as ShortcutsHelp.vue lists them.

export type LayoutAction = 'search' | 'newChat' | 'sidebar' | 'help'

export type KeyPress = Pick<KeyboardEvent, 'key' | 'code' | 'ctrlKey' | 'metaKey' | 'shiftKey' | 'altKey'>

/** Return the action of a key press, or null. Command is the modifier on macOS, Ctrl elsewhere. */
export function actionOf(press: KeyPress, isMac: boolean): LayoutAction | null {
    const { ctrlKey, metaKey, shiftKey, altKey } = press
    if (altKey || (isMac ? !metaKey || ctrlKey : !ctrlKey || metaKey)) return null
    // On some keyboards Shift is needed for the slash.
    if (press.key === '/') return 'help'
    const letter = letterOf(press)
    if (letter === 'k' && !shiftKey) return 'search'
    if (letter === 'o' && shiftKey) return 'newChat'
    if (letter === 's' && shiftKey) return 'sidebar'
    return null
}

/** Keyboards for other scripts have no Latin letters: there, the place of the key counts. */
function letterOf({ key, code }: KeyPress): string {
    return /^[a-z]$/i.test(key) ? key.toLowerCase() : code.replace(/^Key/, '').toLowerCase()
}
