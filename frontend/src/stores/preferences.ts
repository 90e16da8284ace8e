// Preferences of an account. The server keeps them, with names in snake_case; other clients may have added others.

import type { PreferencesUpdate } from '@/api/generated/auth'
import { isLanguage, type Language } from '@/locales'

export const THEMES = ['system', 'light', 'dark'] as const
export const DENSITIES = ['comfortable', 'compact'] as const

export interface Preferences {
    theme: (typeof THEMES)[number]
    /** null: the language of the browser. */
    language: Language | null
    density: (typeof DENSITIES)[number]
    /** Whether Enter sends a question; otherwise Ctrl+Enter does. */
    sendOnEnter: boolean
    /** Whether answers show model, tokens, cost and time. */
    showDetails: boolean
}

export const DEFAULT_PREFERENCES: Preferences = {
    theme: 'system',
    language: null,
    density: 'comfortable',
    sendOnEnter: true,
    showDetails: false,
}

function oneOf<T extends string>(values: readonly T[], value: unknown, fallback: T): T {
    return values.find((each) => each === value) ?? fallback
}

/** Return the preferences in an object of the server; the default for each that is missing or invalid. */
export function parsePreferences(stored: Record<string, unknown> = {}): Preferences {
    const { theme, language, density, send_on_enter: sendOnEnter, show_details: showDetails } = stored
    return {
        theme: oneOf(THEMES, theme, DEFAULT_PREFERENCES.theme),
        language: languageOf(language),
        density: oneOf(DENSITIES, density, DEFAULT_PREFERENCES.density),
        sendOnEnter: typeof sendOnEnter === 'boolean' ? sendOnEnter : DEFAULT_PREFERENCES.sendOnEnter,
        showDetails: typeof showDetails === 'boolean' ? showDetails : DEFAULT_PREFERENCES.showDetails,
    }
}

/** Return the language of a tag that another client may have stored with a region: `de` for `de-AT`. */
function languageOf(tag: unknown): Language | null {
    const language = typeof tag === 'string' ? tag.split('-')[0] : null
    return isLanguage(language) ? language : null
}

/** Return changed preferences as the server names them. */
export function preferencesUpdate(changes: Partial<Preferences>): PreferencesUpdate {
    const { sendOnEnter, showDetails, ...others } = changes
    return {
        ...others,
        ...(sendOnEnter === undefined ? {} : { send_on_enter: sendOnEnter }),
        ...(showDetails === undefined ? {} : { show_details: showDetails }),
    }
}
