// @vitest-environment jsdom
// A text that grows ends as the same DOM as a text that is shown at once.

import { beforeAll, describe, expect, it, vi } from 'vitest'
import { loadExtension, MATH } from '@/markdown/extensions'
import { MarkdownView } from '@/markdown/view'
import { ANSWER, HOSTILE } from './corpus'
import { TEXTS } from './render'

vi.setConfig({ testTimeout: 30_000 })

beforeAll(async () => {
    await Promise.all([MATH, 'python', 'xml', 'bash'].map(loadExtension))
})

/** A generator of numbers from 0 to 1 that repeats itself for a seed (mulberry32). */
function randomNumbers(seed: number): () => number {
    let state = seed
    return () => {
        state = (state + 0x6d2b79f5) | 0
        let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
        mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
        return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
    }
}

async function finish(): Promise<void> {
    await vi.runAllTimersAsync()
}

async function showAtOnce(text: string): Promise<string> {
    const root = document.createElement('div')
    new MarkdownView(root, TEXTS).update(text, false)
    await finish()
    return root.innerHTML
}

async function showGrowing(text: string, random: () => number): Promise<string> {
    const root = document.createElement('div')
    const view = new MarkdownView(root, TEXTS)
    for (let end = 0; end < text.length; end += 1 + Math.floor(random() * 30)) {
        view.update(text.slice(0, end), true)
        await vi.advanceTimersByTimeAsync(20)
    }
    view.update(text, true)
    if (random() < 0.5) await finish()
    view.update(text, false)
    await finish()
    return root.innerHTML
}

const PIECES = [
    ...[
        '# a',
        'b',
        'c **d',
        'e** f',
        '- g',
        '  - h',
        '1. i',
        '2. j',
        '> k',
        '```',
        '~~~js',
        '    l',
        '---',
        '===',
        '***',
    ],
    ...[
        '| m | n |',
        '|---|---|',
        '|:--|',
        '[ref]',
        '[ref]: https://a.example',
        '[o]: https://b.example "t"',
        '$$',
        '\\[',
    ],
    ...[
        '\\]',
        '$p$',
        '\\(q\\)',
        '- [ ] r',
        '- [x] s',
        '`t',
        'u`',
        '![v](https://c.example)',
        'https://d.example',
        '#',
        '-',
    ],
    ...['\t', '', '', '', '+', '10) w', '\\', '<b>', '&amp;', 'x | y', '--|--', '$', '  ', '>', '\u202E'],
]

describe('growing text', () => {
    it.each([1, 2])('ends as the text shown at once: ordinary answer (seed %i)', async (seed) => {
        vi.useFakeTimers()
        expect(await showGrowing(ANSWER, randomNumbers(seed))).toBe(await showAtOnce(ANSWER))
    })

    it.each(Array.from({ length: 30 }, (_, seed) => seed))('ends the same: random lines (seed %i)', async (seed) => {
        vi.useFakeTimers()
        const random = randomNumbers(seed + 100)
        const separator = seed % 3 === 0 ? '\r\n' : '\n'
        const lines = Array.from({ length: 15 }, () => PIECES[Math.floor(random() * PIECES.length)])
        const text = lines.join(separator)
        expect(await showGrowing(text, random)).toBe(await showAtOnce(text))
    })

    it('ends the same: hostile texts', async () => {
        vi.useFakeTimers()
        const text = HOSTILE.slice(0, 40).join('\n\n')
        expect(await showGrowing(text, randomNumbers(7))).toBe(await showAtOnce(text))
    })
})

it('renders finished blocks once', async () => {
    vi.useFakeTimers()
    const root = document.createElement('div')
    const view = new MarkdownView(root, TEXTS)
    view.update('one\n\ntwo\n\nthree\n\nfour', true)
    await finish()
    const first = root.querySelector('p')
    view.update('one\n\ntwo\n\nthree\n\nfour and more\n\nfive', true)
    await finish()
    expect(root.querySelectorAll('p')).toHaveLength(5)
    expect(root.querySelector('p')).toBe(first)
})

it('keeps the button of a code block that grows', async () => {
    vi.useFakeTimers()
    const root = document.createElement('div')
    const view = new MarkdownView(root, TEXTS)
    view.update('```python\nx = 1', true)
    await finish()
    const button = root.querySelector('button')
    view.update('```python\nx = 1\ny = 2', true)
    await finish()
    expect(root.querySelector('button')).toBe(button)
    expect(root.querySelector('code')?.textContent).toBe('x = 1\ny = 2')
})

it('replaces a text by another', async () => {
    vi.useFakeTimers()
    const root = document.createElement('div')
    const view = new MarkdownView(root, TEXTS)
    view.update('one\n\ntwo\n\nthree', true)
    await finish()
    view.update('# other', false)
    await finish()
    expect(root.innerHTML).toBe(await showAtOnce('# other'))
})

it('resolves links whose definition comes later', async () => {
    vi.useFakeTimers()
    expect(await showAtOnce('[a][b]\n\ntext\n\n[b]: https://a.example')).toContain('href="https://a.example"')
})

it('does not show the beginning of a list as a heading', async () => {
    vi.useFakeTimers()
    const root = document.createElement('div')
    new MarkdownView(root, TEXTS).update('Points:\n-', true)
    await finish()
    expect(root.querySelector('h4')).toBeNull()
    expect(root.textContent).toContain('Points:')
})
