// HTML of the Markdown elements that differ from CommonMark's: code blocks, images, tables, headings, tasks.

import type { MarkdownIt, RendererRule, Token } from 'markdown-it'
import { highlight } from './highlighting'
import type { RenderEnv } from './render'

/** Headings of an answer are below those of the page and of the message. */
const HEADING_OFFSET = 2
const LANGUAGE_NAME = /^[\w+#.-]{1,30}/

export function addRenderRules(markdown: MarkdownIt): void {
    const { escapeHtml } = markdown.utils
    const { rules } = markdown.renderer

    /** Return code with its language and a button that copies it. */
    function renderCode(code: string, info: string, env: RenderEnv): string {
        const language = LANGUAGE_NAME.exec(info.trim())?.[0] ?? ''
        const body = highlight(code, language.toLowerCase(), env) ?? escapeHtml(code)
        return (
            `<div class="code-block" dir="ltr"><div class="code-header"><span>${escapeHtml(language)}</span>` +
            `<button type="button" class="copy-code">${escapeHtml(env.texts.copyCode)}</button></div>` +
            `<pre tabindex="0"><code>${body}</code></pre></div>\n`
        )
    }

    const code: RendererRule = (tokens, index, _options, env) => {
        const token = tokenAt(tokens, index)
        return renderCode(token.content, token.info, env as RenderEnv)
    }
    rules.fence = code
    rules.code_block = code

    // Images are never loaded: a request would tell their server that the answer was read.
    rules.image = (tokens, index, options, env, self) => {
        const token = tokenAt(tokens, index)
        const source = String(token.attrGet('src') ?? '')
        const alternative = self.renderInlineAsText(token.children ?? [], options, env) || source
        if (source === '' || isInsideLink(tokens, index)) return escapeHtml(alternative)
        return `<a class="image-link" href="${escapeHtml(source)}">${escapeHtml(alternative)}</a>`
    }

    rules.plain_inline = (tokens, index) => `<span class="plain">${escapeHtml(tokenAt(tokens, index).content)}</span>`

    rules.task = (tokens, index, _options, env) => {
        const isDone = tokenAt(tokens, index).meta?.isDone === true
        const { done, open } = (env as RenderEnv).texts
        return `<input type="checkbox" disabled${isDone ? ' checked' : ''} aria-label="${escapeHtml(isDone ? done : open)}"> `
    }

    rules.table_open = (_tokens, _index, _options, env) =>
        `<div class="table-scroll" role="group" tabindex="0" aria-label="${escapeHtml((env as RenderEnv).texts.table)}"><table>\n`
    rules.table_close = () => '</table></div>\n'

    // markdown-it sets a style, which the content security policy forbids.
    const cell: RendererRule = (tokens, index, options, _env, self) => {
        const token = tokenAt(tokens, index)
        const alignment = /text-align:(left|right|center)/.exec(String(token.attrGet('style') ?? ''))?.[1]
        token.attrs = alignment ? [['class', `align-${alignment}`]] : []
        return self.renderToken(tokens, index, options)
    }
    rules.th_open = cell
    rules.td_open = cell

    const heading: RendererRule = (tokens, index, options, _env, self) => {
        const token = tokenAt(tokens, index)
        token.tag = `h${Math.min(6, Number(token.tag.slice(1)) + HEADING_OFFSET)}`
        return self.renderToken(tokens, index, options)
    }
    rules.heading_open = heading
    rules.heading_close = heading
}

function tokenAt(tokens: Token[], index: number): Token {
    const token = tokens[index]
    if (!token) throw new RangeError(`no token ${index}`)
    return token
}

function isInsideLink(tokens: Token[], index: number): boolean {
    const depth = tokens.slice(0, index).reduce((sum, { type }) => {
        return sum + (type === 'link_open' ? 1 : type === 'link_close' ? -1 : 0)
    }, 0)
    return depth > 0
}
