// Translations of codes that the services send. A newer service may send codes that have none.

import { useI18n } from 'vue-i18n'

/** Return a function that returns the first key with a text, in English at least; undefined if none has. */
export function useKnownKey(): (...keys: string[]) => string | undefined {
    const { te } = useI18n()
    return (...keys) => keys.find((key) => te(key) || te(key, 'en'))
}
