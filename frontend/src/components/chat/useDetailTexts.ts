// Texts of the details of an answer.

import { useI18n } from 'vue-i18n'
import { useFormats } from '@/composables/useFormats'
import type { AnswerDetails } from '@/conversation/answerDetails'

export function useDetailTexts() {
    const { t } = useI18n()
    const { formatNumber } = useFormats()

    function tokens({ inputTokens, outputTokens, areTokensEstimated }: AnswerDetails): string | null {
        if (inputTokens === null || outputTokens === null) return null
        const counts = { input: formatNumber(inputTokens), output: formatNumber(outputTokens) }
        const text = t('chat.details.tokensValue', counts)
        return areTokensEstimated ? `${text} (${t('chat.details.estimated')})` : text
    }

    return { tokens }
}
