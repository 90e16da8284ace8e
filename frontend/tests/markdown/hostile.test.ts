// @vitest-environment jsdom
// Hostile Markdown yields no script, no handler, no request and no address with another scheme. The sanitizer needs a
// DOM that parses HTML as browsers do, which happy-dom does not.

import { beforeAll, describe, expect, it } from 'vitest'
import { splitBlocks } from '@/markdown/blocks'
import { loadExtension, MATH } from '@/markdown/extensions'
import { sanitize } from '@/markdown/sanitizer'
import { ANSWER, HOSTILE } from './corpus'
import { render } from './render'

const TAGS = new Set(
    (
        'A BLOCKQUOTE BR BUTTON CODE DEL DIV EM H3 H4 H5 H6 HR INPUT LI OL P PRE S SPAN STRONG TABLE TBODY TD TH THEAD TR ' +
        'UL math mfrac mi mn mo mover mpadded mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munderover'
    ).split(' '),
)
const ATTRIBUTES = new Set(
    (
        'aria-label checked class dir disabled display href rel role start tabindex target type mathvariant stretchy ' +
        'fence lspace rspace width columnalign columnspacing rowspacing displaystyle scriptlevel separator movablelimits'
    ).split(' '),
)

/** Return what an element and those in it have that rendered Markdown must not have. */
function violations(root: ParentNode): string[] {
    return [...root.querySelectorAll('*')].flatMap((element) => {
        const { tagName, attributes } = element
        const found = [...attributes]
            .filter(({ name }) => !ATTRIBUTES.has(name))
            .map(({ name }) => `${tagName} ${name}`)
        if (!TAGS.has(tagName)) found.push(tagName)
        const type = { INPUT: 'checkbox', BUTTON: 'button' }[tagName]
        if (type && element.getAttribute('type') !== type) found.push(`${tagName} type`)
        const href = element.getAttribute('href')
        if (href !== null && (tagName !== 'A' || !/^(https?:\/\/|mailto:)/.test(href))) found.push(`${tagName} ${href}`)
        if (href !== null && element.getAttribute('target') !== '_blank') found.push('target')
        if (href !== null && element.getAttribute('rel') !== 'noopener noreferrer nofollow') found.push('rel')
        return found
    })
}

function expectHarmless(root: ParentNode): void {
    expect(violations(root)).toEqual([])
}

beforeAll(async () => {
    await Promise.all([MATH, 'python', 'xml', 'bash'].map(loadExtension))
})

describe('hostile Markdown', () => {
    it.each(HOSTILE)('is harmless: %s', (text) => {
        expectHarmless(render(text))
    })

    it.each([
        (text: string) => `> - 1. ${text}`,
        (text: string) => `**${text}** *${text}* ~~${text}~~`,
        (text: string) => `[${text}](https://a.example)`,
        (text: string) => `![${text}](https://a.example/${text})`,
        (text: string) => `| ${text} |\n|---|\n| ${text} |`,
        (text: string) => `\`\`\`${text}\n${text}`,
        (text: string) => `$${text}$ \\(${text}\\)`,
        (text: string) => `# ${text}\n${text}\n---`,
    ])('is harmless within other elements (%#)', (wrap) => {
        for (const text of HOSTILE) expectHarmless(render(wrap(text)))
    })

    it('is harmless when two texts meet', () => {
        for (const first of HOSTILE) for (const second of HOSTILE.slice(0, 3)) expectHarmless(render(first + second))
    })
})

it('reduces HTML that the renderer would not make', () => {
    for (const html of HOSTILE) {
        const root = document.createElement('div')
        root.append(sanitize(html))
        expectHarmless(root)
    }
})

it('shows an image as a link with its alternative text', () => {
    const link = render('![A *chart*](https://example.com/c.png)').querySelector('a')
    expect(link?.textContent).toBe('A chart')
    expect(link?.getAttribute('href')).toBe('https://example.com/c.png')
})

it.each(['\u202E', '\u2066', '\u200B', '&#x202E;', '&#8238;', '\u{E0041}'])(
    'removes %j from prose and links',
    (mark) => {
        const root = render(`safe${mark}text [a${mark}b](https://example.com/x${mark}y)`)
        expect(root.textContent?.trim()).toBe('safetext ab')
    },
)

it('shows invisible characters in code', () => {
    expect(render('```\nif x\u202E\u2066:\u200D\n```').querySelector('code')?.textContent).toBe(
        'if x\uFFFD\uFFFD:\uFFFD\n',
    )
    expect(render('`a\u202Eb`').textContent).toContain('a\uFFFDb')
})

it('keeps joiners in prose', () => {
    expect(render('می\u200Cخواهم 👩\u200D👧').textContent).toContain('می\u200Cخواهم 👩\u200D👧')
})

it('renders the elements of an ordinary answer', () => {
    const root = render(ANSWER)
    expectHarmless(root)
    const counts = (selector: string): number => root.querySelectorAll(selector).length
    expect(counts('h3, h4')).toBe(2)
    expect(counts('.table-scroll table')).toBe(2)
    expect(counts('.code-block .copy-code')).toBe(3)
    expect(counts('input[type=checkbox]')).toBe(2)
    expect(counts('math')).toBe(4)
    expect(counts('.hljs-keyword')).toBeGreaterThan(1)
    expect(counts('[class*=align-right]')).toBe(3)
    expect(
        splitBlocks(ANSWER)
            .map(({ source }) => source)
            .join(''),
    ).toBe(ANSWER)
})

it('shows an invalid formula as its source', () => {
    expect(render('$\\frac{1$').querySelector('code.formula')?.textContent).toBe('\\frac{1')
})
