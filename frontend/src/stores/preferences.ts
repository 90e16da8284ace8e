// Preferences of an account. The server stores them as an object that it does not interpret, so they are validated here.

import { isLanguage, type Language } from '@/locales'

const THEMES = ['system', 'light', 'dark'] as const
const DENSITIES = ['comfortable', 'compact'] as const

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

/** Return the preferences in a stored object; the default for each that is missing or invalid. */
export function parsePreferences(stored: Record<string, unknown> = {}): Preferences {
    const { theme, language, density, sendOnEnter, showDetails } = stored
    return {
        theme: oneOf(THEMES, theme, DEFAULT_PREFERENCES.theme),
        language: isLanguage(language) ? language : DEFAULT_PREFERENCES.language,
        density: oneOf(DENSITIES, density, DEFAULT_PREFERENCES.density),
        sendOnEnter: typeof sendOnEnter === 'boolean' ? sendOnEnter : DEFAULT_PREFERENCES.sendOnEnter,
        showDetails: typeof showDetails === 'boolean' ? showDetails : DEFAULT_PREFERENCES.showDetails,
    }
}
