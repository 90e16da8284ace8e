// @vitest-environment jsdom
// Character references are decoded as by the package that they replace.

import { decodeHTMLStrict as expected } from 'entities'
import { expect, it } from 'vitest'
import { decodeHTMLStrict } from '@/markdown/entities'

const REFERENCES = [
    'amp',
    'copy',
    'nbsp',
    'semi',
    'NotEqualTilde',
    'NewLine',
    'Tab',
    'bogus',
    'notx',
    'copyx',
    'AMP',
    'lt',
]

it.each(REFERENCES)('&%s;', (name) => {
    expect(decodeHTMLStrict(`&${name};`)).toBe(expected(`&${name};`))
})
