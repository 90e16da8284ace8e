import { expect, it } from 'vitest'
import { DEFAULT_PREFERENCES, parsePreferences, preferencesUpdate } from '@/stores/preferences'

it('keeps valid preferences', () => {
    const stored = { theme: 'dark', language: 'ar', density: 'compact', send_on_enter: false, show_details: true }
    const preferences = { theme: 'dark', language: 'ar', density: 'compact', sendOnEnter: false, showDetails: true }
    expect(parsePreferences(stored)).toEqual(preferences)
})

it.each([
    undefined,
    {},
    { theme: 'pink', language: 'xx', density: 3, send_on_enter: 'no', show_details: null, other: 1 },
])('replaces %o by defaults', (stored) => {
    expect(parsePreferences(stored)).toEqual(DEFAULT_PREFERENCES)
})

it('takes the language of a regional tag', () => {
    expect(parsePreferences({ language: 'de-AT' }).language).toBe('de')
})

it('names changes as the server does', () => {
    expect(preferencesUpdate({ sendOnEnter: false, showDetails: true })).toEqual({
        send_on_enter: false,
        show_details: true,
    })
    expect(preferencesUpdate({ language: null })).toEqual({ language: null })
})
