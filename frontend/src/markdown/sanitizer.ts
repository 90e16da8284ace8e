// Sanitizer of rendered Markdown. The renderer already escapes all text; this is the second line of defence.

import DOMPurify, { type Config } from 'dompurify'
import { removeInvisible, showInvisible } from './invisible'

const HTML_TAGS =
    'a blockquote br button code del div em h3 h4 h5 h6 hr input li ol p pre s span strong table tbody td th thead tr ul'
const MATH_TAGS =
    'math menclose mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms mspace msqrt mstyle ' +
    'msub msubsup msup mtable mtd mtext mtr munder munderover'
const HTML_ATTRIBUTES = 'aria-label checked class dir disabled rel role start tabindex target type'
const MATH_ATTRIBUTES =
    'accent accentunder columnalign columnlines columnspacing depth display displaystyle fence height linethickness ' +
    'lspace mathvariant maxsize minsize movablelimits notation rowlines rowspacing rspace scriptlevel separator ' +
    'stretchy symmetric voffset width'

const PLAIN_ATTRIBUTES = `${HTML_ATTRIBUTES} ${MATH_ATTRIBUTES}`.split(' ')

const CONFIG = {
    ALLOWED_TAGS: ['#text', ...`${HTML_TAGS} ${MATH_TAGS}`.split(' ')],
    ALLOWED_ATTR: ['href', ...PLAIN_ATTRIBUTES],
    // The pattern of addresses applies to `href` alone.
    ADD_URI_SAFE_ATTR: PLAIN_ATTRIBUTES,
    ALLOW_ARIA_ATTR: false,
    ALLOW_DATA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
    RETURN_DOM_FRAGMENT: true,
} satisfies Config

const purifier = DOMPurify(window)
purifier.addHook('afterSanitizeAttributes', (node) => {
    if (node.localName === 'a') {
        node.setAttribute('target', '_blank')
        node.setAttribute('rel', 'noopener noreferrer nofollow')
    } else {
        node.removeAttribute('href')
    }
    if (node.localName === 'button') node.setAttribute('type', 'button')
    if (node.localName === 'input') {
        node.setAttribute('type', 'checkbox')
        node.setAttribute('disabled', '')
    }
})

/** Return the DOM of HTML, reduced to what Markdown needs and without invisible characters. */
export function sanitize(html: string): DocumentFragment {
    const fragment = purifier.sanitize(html, CONFIG)
    if (removeInvisible(html) !== html || showInvisible(html) !== html) revealText(fragment)
    return fragment
}

function revealText(fragment: DocumentFragment): void {
    const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT)
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const parent = node.parentElement
        const text = node.nodeValue ?? ''
        // Formulas have invisible operators.
        if (parent?.closest('math')) continue
        node.nodeValue = parent?.closest('code') ? showInvisible(text) : removeInvisible(text)
    }
}
