import { expect, it } from 'vitest'
import { answerDetails } from '@/conversation/answerDetails'
import { localMessage } from '@/conversation/entries'

const message = localMessage('assistant', 'Text', null)

it('reads the metadata of an answer', () => {
    const metadata = {
        model_used: 'small',
        model_requested: 'large',
        fallback_model: true,
        fallback_reason: 'provider_timeout',
        cached: false,
        tokens_used: { input: 12, output: 34, total: 46 },
        cost_usd: '0.000120',
        first_token_ms: 210,
        history_left_out: 5,
        history_summarized: 3,
        finish_reason: 'length',
        reasoning: 'Thought',
    }
    expect(answerDetails({ ...message, metadata, processing_time_ms: 900 })).toMatchObject({
        model: 'small',
        requestedModel: 'large',
        fallbackReason: 'provider_timeout',
        inputTokens: 12,
        outputTokens: 34,
        cost: '0.000120',
        firstTokenTime: 210,
        duration: 900,
        leftOut: 5,
        summarized: 3,
        isTruncated: true,
        reasoning: 'Thought',
        errorCode: null,
    })
})

it.each([{}, { tokens_used: null, cost_usd: null }, { tokens_used: 'x', cost_usd: 3, history_left_out: '5' }])(
    'takes nothing from metadata %o',
    (metadata) => {
        expect(answerDetails({ ...message, metadata })).toMatchObject({
            model: null,
            requestedModel: null,
            inputTokens: null,
            cost: null,
            leftOut: 0,
            isTruncated: false,
            isFallbackText: false,
        })
    },
)
