import { expect, it } from 'vitest'
import { isLanguage } from '@/locales'

it.each(['en', 'de', 'ar'])('has the language %s', (tag) => expect(isLanguage(tag)).toBe(true))

it.each(['fr', '', 'EN', '__proto__', 'constructor', 'toString', null, 1])('does not have the language %j', (tag) =>
    expect(isLanguage(tag)).toBe(false),
)
