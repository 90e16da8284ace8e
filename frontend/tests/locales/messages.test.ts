// Messages that are compiled while the application is built read as those that the library compiles.

import { expect, it } from 'vitest'
import { createI18n } from 'vue-i18n'
import { compileMessages } from '../../vite/messages'

type Tree = { [key: string]: string | Tree }

const files = import.meta.glob<Tree>('../../src/locales/*/*.json', { eager: true, import: 'default' })
const VALUES = { n: 3, count: 3, model: 'M', name: 'Ada', total: 9, time: '10:00', date: 'today' }

function keysOf(tree: Tree, prefix = ''): string[] {
    return Object.entries(tree).flatMap(([key, value]) =>
        typeof value === 'string' ? [prefix + key] : keysOf(value, `${prefix}${key}.`),
    )
}

it.each(Object.entries(files))('%s', (_path, tree) => {
    const options = { legacy: false, missingWarn: false } as const
    const plain = createI18n({ ...options, locale: 'en', messages: { en: tree } }).global.t
    const compiled = createI18n({ ...options, locale: 'en', messages: { en: compileMessages(tree) as Tree } }).global.t
    for (const key of keysOf(tree))
        for (const count of [0, 1, 2]) expect(compiled(key, VALUES, count), key).toBe(plain(key, VALUES, count))
})
