// Every text is used, and every text that a source names exists.

import { expect, it } from 'vitest'

type Tree = { [key: string]: string | Tree }

const AREAS = 'common|auth|chat|composer|sidebar|markdown|account|admin'
const files = import.meta.glob<Tree>('../../src/locales/en/*.json', { eager: true, import: 'default' })
const sources = import.meta.glob<string>(['../../src/**/*.{ts,vue}', '!../../src/api/generated/**'], {
    eager: true,
    query: '?raw',
    import: 'default',
})
const source = Object.values(sources).join('\n')

function keysOf(tree: Tree, prefix: string): string[] {
    return Object.entries(tree).flatMap(([key, value]) =>
        typeof value === 'string' ? [prefix + key] : keysOf(value, `${prefix}${key}.`),
    )
}

const keys = Object.entries(files).flatMap(([path, tree]) =>
    keysOf(tree, `${path.split('/').pop()?.replace('.json', '')}.`),
)

function found(pattern: string): string[] {
    return [...source.matchAll(new RegExp(pattern, 'g'))].flatMap(([, key]) => key ?? [])
}

it('uses every text', () => {
    const literals = new Set(found(`['"\`]((?:${AREAS})\\.[\\w.-]+)['"\`]`))
    const patterns = found(`\`((?:${AREAS})\\.[^\`]*\\$\\{[^\`]*)\``).map((template) => {
        const parts = template.split(/\$\{[^}]*\}/).map((part) => part.replaceAll('.', '\\.'))
        return new RegExp(`^${parts.join('.+')}$`)
    })
    // `useErrorText` reads them by the area and the code of an error.
    patterns.push(new RegExp(`^(${AREAS})\\.errors\\.\\w+$`))
    expect(keys.filter((key) => !literals.has(key) && !patterns.some((pattern) => pattern.test(key)))).toEqual([])
})

it('names no text that is missing', () => {
    const named = found(`\\bt\\(\\s*'((?:${AREAS})\\.[\\w.-]+)'`)
    expect(named.length).toBeGreaterThan(200)
    expect(named.filter((key) => !keys.includes(key))).toEqual([])
})
