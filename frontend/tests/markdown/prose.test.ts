// @vitest-environment jsdom
// Text that is shown without the renderer looks as the renderer would show it.

import { describe, expect, it } from 'vitest'
import { isProse, showUnrendered } from '@/markdown/prose'
import { ANSWER, HOSTILE } from './corpus'
import { render } from './render'

const PROSE = [
    'Your name is Ada.',
    'One line\nand another.\n\nA second paragraph; is it one?\n\n\n\nYes (it is), "quoted" at 10:30, 50% of it.',
    '  An indented beginning\n  and a second line',
    'مرحبا\u202E بك.',
    'The sum is 2.5 or 1,000 - about.',
]
const MARKDOWN = [
    ...['**bold**', '`code`', '- item', '+ item', '1. item', '12) item', '    code', '# title', 'a\n===', 'a\n---'],
    ...[
        'http://example.com',
        'ada@example.com',
        'mailto:x',
        '[a](b)',
        '&amp;',
        '$x$',
        '|a|',
        'a  \nb',
        'a\\\nb',
        '<b>',
    ],
]

function show(text: string): string {
    const root = document.createElement('div')
    showUnrendered(root, text)
    return [...root.children].map(({ innerHTML }) => innerHTML).join('')
}

describe('prose', () => {
    it.each(PROSE)('%j is the same without the renderer', (text) => {
        expect(isProse(text)).toBe(true)
        expect(show(text)).toBe(render(text).innerHTML.replaceAll('>\n', '>'))
    })

    it.each([...MARKDOWN, ANSWER])('%j needs the renderer', (text) => expect(isProse(text)).toBe(false))

    it('shows no element of a hostile text', () => {
        for (const text of HOSTILE) {
            const root = document.createElement('div')
            showUnrendered(root, text)
            expect(root.querySelector(':not(div, p)')).toBeNull()
        }
    })
})
