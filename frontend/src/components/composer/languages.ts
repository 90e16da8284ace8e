// Languages of answers that the user can choose from. The service takes any BCP 47 tag.

export const ANSWER_LANGUAGES = (
    'ar bg cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv nl no pl pt pt-BR ro ru sk sl sr sv th tr uk ur ' +
    'vi zh-Hans zh-Hant'
).split(' ')

/** Return the name of a language in another one; its tag if it has none. */
export function languageName(tag: string, locale: string): string {
    try {
        return new Intl.DisplayNames(locale, { type: 'language' }).of(tag) ?? tag
    } catch {
        return tag
    }
}
