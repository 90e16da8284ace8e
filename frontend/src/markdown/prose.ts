// Text without Markdown, which is shown without the renderer. Most questions and many short answers are.

import { removeInvisible } from './invisible'

const MAX_PROSE = 2000
/** What could be Markdown or an address: marks anywhere, and what begins a list, code, or a line below a heading. */
const MARKS = /[\\`*_~[\]<>&|$#@\t]|:\/\/|mailto:|^ {0,3}[-+=]|^ {0,3}\d+[.)]|^ {4}| $/im

/** Return whether the renderer would make nothing but paragraphs of a text. */
export function isProse(text: string): boolean {
    return text.length <= MAX_PROSE && !MARKS.test(text) && !text.includes('\r')
}

/** Longer texts would be laid out in one piece. */
const MAX_UNRENDERED = 20_000

/** Show a text as the renderer does if it is prose, and otherwise as it is, if it is not very long. */
export function showUnrendered(root: HTMLElement, text: string): void {
    const isPlain = !isProse(text)
    const parts = isPlain ? [text.slice(0, MAX_UNRENDERED)] : text.split(/\n\s*\n/)
    const blocks = parts
        .filter((part) => part.trim() !== '')
        .map((part) => {
            const block = document.createElement('div')
            block.className = 'markdown-block'
            block.dir = 'auto'
            const paragraph = document.createElement(isPlain ? 'div' : 'p')
            if (isPlain) paragraph.className = 'plain'
            paragraph.textContent = removeInvisible(part.trim().replace(/\n +/g, '\n'))
            block.append(paragraph)
            return block
        })
    root.replaceChildren(...blocks)
}
