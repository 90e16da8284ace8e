import { expect, it } from 'vitest'
import { DEFAULT_PREFERENCES, parsePreferences } from '@/stores/preferences'

it('keeps valid preferences', () => {
    const stored = { theme: 'dark', language: 'ar', density: 'compact', sendOnEnter: false, showDetails: true }
    expect(parsePreferences(stored)).toEqual(stored)
})

it.each([undefined, {}, { theme: 'pink', language: 'xx', density: 3, sendOnEnter: 'no', showDetails: null, other: 1 }])(
    'replaces %o by defaults',
    (stored) => {
        expect(parsePreferences(stored)).toEqual(DEFAULT_PREFERENCES)
    },
)
