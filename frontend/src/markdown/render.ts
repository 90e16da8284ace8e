// Rendering of one block of a Markdown text.

import type { Env } from 'markdown-it'
import type { Block } from './blocks'
import { MATH, needsMath } from './extensions'
import { removeInvisible, showInvisible } from './invisible'
import { MAX_TOKENS, PLAIN_CHUNK } from './limits'
import { markdown } from './parser'
import { sanitize } from './sanitizer'

/** Words in the rendered text. */
export interface MarkdownTexts {
    copyCode: string
    table: string
    done: string
    open: string
}

/** What the rules of the renderer read and write. */
export interface RenderEnv extends Env {
    texts: MarkdownTexts
    /** Extensions that the block needs and that are not loaded. */
    missing: Set<string>
    /** Number of formulas so far. */
    formulas: number
}

export interface Rendered {
    content: DocumentFragment
    /** Extensions that were not loaded. The block has to be rendered again after they are. */
    missing: Set<string>
}

/** Render a block. `references`: link definitions of the whole text. */
export function renderBlock({ kind, source }: Block, texts: MarkdownTexts, references: Env['references']): Rendered {
    const env: RenderEnv = { texts, references: { ...references }, missing: new Set(), formulas: 0 }
    if (kind === 'plain') return { content: plainText(source, 'div'), missing: env.missing }
    if (kind === 'code') return { content: longCode(source, env), missing: env.missing }
    if (needsMath(source)) env.missing.add(MATH)
    const tokens = markdown.parse(source, env)
    if (tokens.length > MAX_TOKENS) return { content: plainText(source, 'div'), missing: env.missing }
    return { content: sanitize(markdown.renderer.render(tokens, markdown.options, env)), missing: env.missing }
}

/** Return a code block that is too long for the parser and the highlighter. */
function longCode(source: string, env: RenderEnv): DocumentFragment {
    const [opening = '', ...lines] = source.trimEnd().split('\n')
    const fence = opening.trim().match(/^(`{3,}|~{3,})/)?.[0] ?? '```'
    if (lines.at(-1)?.trim() === fence) lines.pop()
    const frame = sanitize(markdown.render(`${opening}\n${fence}`, env))
    frame.querySelector('code')?.replaceChildren(plainText(lines.join('\n'), 'span'))
    return frame
}

/** Return text in elements of limited size, so that the browser lays out only those that are visible. */
function plainText(text: string, tag: 'div' | 'span'): DocumentFragment {
    const fragment = document.createDocumentFragment()
    for (let start = 0; start < text.length;) {
        const end = chunkEnd(text, start)
        const chunk = document.createElement(tag)
        chunk.className = 'plain'
        const part = text.slice(start, end)
        chunk.textContent = tag === 'div' ? removeInvisible(part) : showInvisible(part)
        fragment.append(chunk)
        start = end
    }
    return fragment
}

/** Return where a chunk ends: after a line if possible, and never within a character. */
function chunkEnd(text: string, start: number): number {
    const limit = start + PLAIN_CHUNK
    if (limit >= text.length) return text.length
    const lineEnd = text.lastIndexOf('\n', limit - 1)
    if (lineEnd > start) return lineEnd + 1
    return (text.codePointAt(limit - 1) ?? 0) > 0xffff ? limit - 1 : limit
}
