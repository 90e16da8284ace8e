// All languages have the same texts, with the same placeholders.

import { describe, expect, it } from 'vitest'

type Tree = { [key: string]: string | Tree }

const files = import.meta.glob<Tree>('../../src/locales/*/*.json', { eager: true, import: 'default' })

function flatten(tree: Tree, prefix = ''): [string, string][] {
    return Object.entries(tree).flatMap(([key, value]) =>
        typeof value === 'string'
            ? [[`${prefix}${key}`, value] as [string, string]]
            : flatten(value, `${prefix}${key}.`),
    )
}

function placeholders(text: string): string[] {
    // The forms of a plural may use a placeholder differently often.
    return [...new Set(text.match(/\{[^}]*\}/g))].sort()
}

const english = Object.entries(files).filter(([path]) => path.includes('/en/'))

describe.each(['de', 'ar'])('%s', (language) => {
    it.each(english)('translates %s', (path, tree) => {
        const translated = Object.fromEntries(flatten(files[path.replace('/en/', `/${language}/`)] ?? {}))
        const texts = Object.fromEntries(flatten(tree))
        expect(Object.keys(translated).sort()).toEqual(Object.keys(texts).sort())
        for (const [key, text] of Object.entries(texts))
            expect(placeholders(translated[key] ?? ''), key).toEqual(placeholders(text))
    })
})
