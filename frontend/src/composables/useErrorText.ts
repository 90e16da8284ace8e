// Text of an error in the language of the page.

import { useI18n } from 'vue-i18n'
import { ApiError } from '@/api/problem'
import { useFormats } from './useFormats'
import { useKnownKey } from './useKnownKey'

/**
 * Return a function that describes an error: by the translation of its code where there is one (`<area>.errors.<code>`
 * or `common.errors.<code>`), as unavailable (502 to 504), or else in the words of the service, which are English.
 */
export function useErrorText(area = 'common'): (error: unknown) => string {
    const { t } = useI18n()
    const { formatWait } = useFormats()
    const knownKey = useKnownKey()

    return (error) => {
        if (!(error instanceof ApiError)) return t('common.errors.title')
        const key = knownKey(`${area}.errors.${error.code}`, `common.errors.${error.code}`)
        const isUnavailable = error.status >= 502
        const text = key ? t(key) : isUnavailable ? t('common.errors.unavailable') : error.message
        return error.retryAfter ? `${text} ${t('common.errors.retryIn', { time: formatWait(error.retryAfter) })}` : text
    }
}
