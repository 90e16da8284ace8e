// Markdown parser: CommonMark with tables, strikethrough, links of bare addresses and task lists; without HTML.

import MarkdownIt, { type StateCore } from 'markdown-it'
import { MAX_INLINE } from './limits'
import { addRenderRules } from './renderRules'

const ALLOWED_LINK = /^(?:https?:\/\/|mailto:)/i
const TASK = /^\[([ xX])\][ \u00A0]+/

export const markdown = new MarkdownIt({ html: false, linkify: true })

// Only with a scheme: "main.py" is a file, although .py is also a domain.
markdown.linkify.set({ fuzzyLink: false, fuzzyIP: false }).add('ftp:', null).add('//', null)
markdown.validateLink = (url) => ALLOWED_LINK.test(url.trim())

markdown.core.ruler.at('inline', parseInline)
markdown.core.ruler.after('inline', 'task_lists', markTasks)
addRenderRules(markdown)

/** Parse inline text as markdown-it does, but leave long runs as plain text. */
function parseInline({ tokens, md, env, Token }: StateCore): void {
    for (const token of tokens) {
        if (token.type !== 'inline' || !token.children) continue
        if (token.content.length <= MAX_INLINE) {
            md.inline.parse(token.content, md, env, token.children)
        } else {
            const text = new Token('text', '', 0)
            text.content = token.content
            token.children.push(text)
            // Neither are its links looked for.
            token.type = 'plain_inline'
        }
    }
}

/** Replace `[ ]` and `[x]` at the beginning of list items by tokens of check boxes. */
function markTasks({ tokens, Token }: StateCore): void {
    tokens.forEach((token, index) => {
        const first = token.children?.[0]
        if (token.type !== 'inline' || tokens[index - 2]?.type !== 'list_item_open' || first?.type !== 'text') return
        const mark = TASK.exec(first.content)?.[1]
        if (mark === undefined) return
        first.content = first.content.replace(TASK, '')
        const box = new Token('task', 'input', 0)
        box.meta = { isDone: mark !== ' ' }
        token.children?.unshift(box)
        tokens[index - 2]?.attrSet('class', 'task')
    })
}
