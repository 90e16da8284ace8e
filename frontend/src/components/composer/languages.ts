// Languages to answer in that are offered for choice. The service takes any tag of BCP 47.

export const ANSWER_LANGUAGES = [
    ...[
        'ar',
        'bg',
        'cs',
        'da',
        'de',
        'el',
        'en',
        'es',
        'et',
        'fa',
        'fi',
        'fr',
        'he',
        'hi',
        'hr',
        'hu',
        'id',
        'it',
        'ja',
    ],
    ...[
        'ko',
        'lt',
        'lv',
        'nl',
        'no',
        'pl',
        'pt',
        'pt-BR',
        'ro',
        'ru',
        'sk',
        'sl',
        'sr',
        'sv',
        'th',
        'tr',
        'uk',
        'ur',
        'vi',
    ],
    ...['zh-Hans', 'zh-Hant'],
]

/** Return the name of a language in another one; its tag if it has none. */
export function languageName(tag: string, locale: string): string {
    try {
        return new Intl.DisplayNames(locale, { type: 'language' }).of(tag) ?? tag
    } catch {
        return tag
    }
}
