// Top-level blocks of a Markdown text. They are the units that are rendered, kept and replaced while a text grows.

import type { Env } from 'markdown-it'
import { MAX_BLOCK, MAX_BLOCKS, MAX_TEXT } from './limits'
import { markdown } from './parser'

export interface Block {
    /** Position in the text. */
    start: number
    source: string
    /** `code`: a fenced block too long for the parser; `plain`: text that is not read as Markdown. */
    kind: 'markdown' | 'code' | 'plain'
}

/**
 * Split a text from a position where a block starts, which is block number `count`.
 *
 * `env` receives the link definitions of the text.
 */
export function splitBlocks(text: string, from = 0, count = 0, env: Env = {}): Block[] {
    const end = Math.min(text.length, MAX_TEXT)
    const part = text.slice(from, end)
    const starts = blockStarts(part, env)
    const blocks: Block[] = starts.slice(0, Math.max(0, MAX_BLOCKS - count)).map((start, index) => {
        const source = part.slice(start, starts[index + 1])
        return { start: from + start, source, kind: kindOf(source) }
    })
    const rest = from + (starts[blocks.length] ?? part.length)
    if (rest < text.length) blocks.push({ start: rest, source: text.slice(rest), kind: 'plain' })
    return blocks
}

function kindOf(source: string): Block['kind'] {
    if (source.length <= MAX_BLOCK) return 'markdown'
    return /^ {0,3}(```|~~~)/.test(source) ? 'code' : 'plain'
}

/** Return the positions where top-level blocks start. Link definitions belong to the block before them, or the first. */
function blockStarts(text: string, env: Env): number[] {
    if (text === '') return []
    const tokens: Parameters<typeof markdown.block.parse>[3] = []
    markdown.block.parse(text, markdown, env, tokens)
    const lines = tokens.flatMap(({ level, nesting, map }) => (level === 0 && nesting >= 0 && map ? [map[0]] : []))
    const starts = [0]
    let line = 0
    let position = 0
    for (const target of lines.slice(1)) {
        for (; line < target; line += 1) position = text.indexOf('\n', position) + 1
        starts.push(position)
    }
    return starts
}
