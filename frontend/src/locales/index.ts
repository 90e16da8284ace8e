// Translations. Each language has one file for each area of the application; an area is loaded with its pages.

import { createI18n } from 'vue-i18n'
import common from './en/common.json'

/** Languages of the application, each named in itself. */
export const LANGUAGES = {
    en: { name: 'English', direction: 'ltr' },
    de: { name: 'Deutsch', direction: 'ltr' },
    ar: { name: 'العربية', direction: 'rtl' },
} as const

export type Language = keyof typeof LANGUAGES
export type Area = 'common' | 'auth' | 'chat' | 'composer' | 'sidebar' | 'markdown' | 'account' | 'admin'

type Messages = Record<string, unknown>

const FALLBACK: Language = 'en'
const STORAGE_KEY = 'language'
/** These are part of the code, so that an error can be shown when nothing else can be loaded. */
const INCLUDED = './en/common.json'
const files = import.meta.glob<Messages>(['./*/*.json', '!./en/common.json'], { import: 'default' })
const loaded = new Set<string>([INCLUDED])

export const i18n = createI18n({
    legacy: false,
    locale: detectLanguage(),
    fallbackLocale: FALLBACK,
    missingWarn: false,
    fallbackWarn: false,
})
i18n.global.mergeLocaleMessage(FALLBACK, { common })

/** Return whether the application is translated into a language. */
export function isLanguage(tag: unknown): tag is Language {
    return typeof tag === 'string' && Object.hasOwn(LANGUAGES, tag)
}

/** Return the language chosen in this browser, or else the first of the browser's languages that is available. */
export function detectLanguage(): Language {
    const tags = [localStorage.getItem(STORAGE_KEY), ...navigator.languages.map((tag) => tag.split('-')[0])]
    return tags.find(isLanguage) ?? FALLBACK
}

/** Load the texts of an area in the current language. */
export async function loadArea(area: Area, language: Language = i18n.global.locale.value as Language): Promise<void> {
    const path = `./${language}/${area}.json`
    const load = files[path]
    if (loaded.has(path) || !load) return
    i18n.global.mergeLocaleMessage(language, { [area]: await load() })
    loaded.add(path)
}

/** Change the language of the page, after its texts were loaded. */
export async function setLanguage(language: Language): Promise<void> {
    const areas = new Set([...loaded].map((path) => path.split('/').pop()?.replace('.json', '') as Area))
    await Promise.all([...areas].map((area) => loadArea(area, language)))
    i18n.global.locale.value = language
    document.documentElement.lang = language
    document.documentElement.dir = LANGUAGES[language].direction
    localStorage.setItem(STORAGE_KEY, language)
}

/** Change to the first of the browser's languages that is available, and forget the one that was chosen. */
export async function resetLanguage(): Promise<void> {
    localStorage.removeItem(STORAGE_KEY)
    await setLanguage(detectLanguage())
    localStorage.removeItem(STORAGE_KEY)
}
