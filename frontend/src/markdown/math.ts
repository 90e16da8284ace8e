// Formulas: $…$, $$…$$, \(…\) and \[…\], rendered as MathML, which needs no style sheet and no fonts. Loaded on demand.

import plugin from '@vscode/markdown-it-katex'
import katex, { type KatexOptions } from 'katex'
import type { MarkdownIt, RendererRule, StateBlock, StateInline } from 'markdown-it'
import { MAX_FORMULA, MAX_FORMULAS } from './limits'
import type { RenderEnv } from './render'

/** A CommonJS module, whose exports are the default one for some bundlers. */
const katexPlugin = (plugin as unknown as { default?: typeof plugin }).default ?? plugin

const OPTIONS: KatexOptions = {
    output: 'mathml',
    throwOnError: true,
    strict: 'ignore',
    trust: false,
    maxExpand: 500,
    maxSize: 20,
}
/** The source, which KaTeX adds for copying. The sanitizer would show it as text. */
const ANNOTATION = /<annotation [^>]*>[^<]*<\/annotation>/
const MAX_CACHED = 500
const cache = new Map<string, string>()

/** Return the HTML of a formula; its source if it is invalid, incomplete or too long. */
function renderFormula(markdown: MarkdownIt, source: string, displayMode: boolean): string {
    const key = `${displayMode}${source}`
    const cached = cache.get(key)
    if (cached !== undefined) return cached
    const html = typeset(source, displayMode) ?? `<code class="formula">${markdown.utils.escapeHtml(source)}</code>`
    if (cache.size >= MAX_CACHED) cache.clear()
    cache.set(key, html)
    return html
}

function typeset(source: string, displayMode: boolean): string | null {
    if (source.length > MAX_FORMULA) return null
    try {
        return katex.renderToString(source, { ...OPTIONS, displayMode }).replace(ANNOTATION, '')
    } catch {
        return null
    }
}

function ruleFor(markdown: MarkdownIt, displayMode: boolean): RendererRule {
    return (tokens, index, _options, env) => {
        const renderEnv = env as RenderEnv
        const source = tokens[index]?.content.trim() ?? ''
        renderEnv.formulas += 1
        const html =
            renderEnv.formulas <= MAX_FORMULAS
                ? renderFormula(markdown, source, displayMode)
                : `<code class="formula">${markdown.utils.escapeHtml(source)}</code>`
        return displayMode ? `<span class="formula-block" tabindex="0">${html}</span>\n` : html
    }
}

/** Read `\(…\)` and `\[…\]` within a paragraph. */
function parenthesesRule(state: StateInline, silent: boolean): boolean {
    const opening = state.src.slice(state.pos, state.pos + 2)
    if (opening !== '\\(' && opening !== '\\[') return false
    const end = state.src.indexOf(opening === '\\(' ? '\\)' : '\\]', state.pos + 2)
    if (end === -1 || end - state.pos > MAX_FORMULA) return false
    if (!silent) {
        const token = state.push(opening === '\\(' ? 'math_inline' : 'math_inline_block', 'math', 0)
        token.content = state.src.slice(state.pos + 2, end)
    }
    state.pos = end + 2
    return true
}

/** Read a line that begins with `\[`, and those after it up to `\]`. */
function bracketsRule(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
    const line = (index: number): string =>
        state.src.slice((state.bMarks[index] ?? 0) + (state.tShift[index] ?? 0), state.eMarks[index])
    if ((state.sCount[startLine] ?? 0) - state.blkIndent >= 4 || !line(startLine).startsWith('\\[')) return false
    let last = startLine
    while (last < endLine && !line(last).trimEnd().endsWith('\\]')) {
        // Text after the formula on its last line: it is part of a paragraph.
        if (line(last).includes('\\]') || (last > startLine && (state.sCount[last] ?? 0) < state.blkIndent))
            return false
        last += 1
    }
    if (silent) return true
    const isClosed = last < endLine
    const token = state.push('math_block', 'math', 0)
    token.content = state
        .getLines(startLine, isClosed ? last + 1 : last, state.blkIndent, false)
        .trim()
        .replace(/^\\\[|\\\]$/g, '')
    token.block = true
    state.line = isClosed ? last + 1 : last
    token.map = [startLine, state.line]
    return true
}

/** Add formulas to a parser. */
export function addMath(markdown: MarkdownIt): void {
    // Its types are those of an older markdown-it. Only its parser is used.
    katexPlugin(markdown as never)
    markdown.inline.ruler.before('escape', 'math_parentheses', parenthesesRule)
    markdown.block.ruler.after('blockquote', 'math_brackets', bracketsRule, {
        alt: ['paragraph', 'reference', 'blockquote', 'list'],
    })
    const inline = ruleFor(markdown, false)
    const block = ruleFor(markdown, true)
    Object.assign(markdown.renderer.rules, { math_inline: inline, math_inline_block: block, math_block: block })
}
