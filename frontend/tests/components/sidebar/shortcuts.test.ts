import { describe, expect, it } from 'vitest'
import { actionOf, type KeyPress } from '@/components/sidebar/shortcuts'

function press(key: string, code: string, ...modifiers: string[]): KeyPress {
    const has = (name: string) => modifiers.includes(name)
    return { key, code, ctrlKey: has('ctrl'), metaKey: has('meta'), shiftKey: has('shift'), altKey: has('alt') }
}

describe('actionOf', () => {
    it.each([
        ['search', press('k', 'KeyK', 'ctrl')],
        ['newChat', press('O', 'KeyO', 'ctrl', 'shift')],
        ['sidebar', press('S', 'KeyS', 'ctrl', 'shift')],
        ['help', press('/', 'Slash', 'ctrl')],
    ] as const)('finds %s', (action, key) => {
        expect(actionOf(key, false)).toBe(action)
        expect(actionOf({ ...key, ctrlKey: false, metaKey: true }, true)).toBe(action)
    })

    it('takes the slash of a keyboard that needs Shift for it', () => {
        expect(actionOf(press('/', 'Digit7', 'ctrl', 'shift'), false)).toBe('help')
    })

    it('takes the place of the key on a keyboard without Latin letters', () => {
        expect(actionOf(press('ن', 'KeyK', 'ctrl'), false)).toBe('search')
    })

    it.each([
        press('k', 'KeyK'),
        press('k', 'KeyK', 'meta'),
        press('k', 'KeyK', 'ctrl', 'alt'),
        press('K', 'KeyK', 'ctrl', 'shift'),
        press('o', 'KeyO', 'ctrl'),
    ])('ignores others', (key) => {
        expect(actionOf(key, false)).toBeNull()
    })

    it('ignores Ctrl on macOS, where it edits text', () => {
        expect(actionOf(press('k', 'KeyK', 'ctrl'), true)).toBeNull()
    })
})
