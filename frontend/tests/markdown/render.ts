// Rendering of a whole text, for the tests.

import { splitBlocks } from '@/markdown/blocks'
import { renderBlock } from '@/markdown/render'

export const TEXTS = { copyCode: 'Copy code', table: 'Table', done: 'Done', open: 'Not done' }

export function render(text: string): HTMLElement {
    const root = document.createElement('div')
    for (const block of splitBlocks(text)) root.append(renderBlock(block, TEXTS, {}).content)
    return root
}
