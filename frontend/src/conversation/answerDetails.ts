// Metadata of an answer, which the service returns as an object of any content.

import type { MessageResponse } from '@/api/generated/chat'

export interface AnswerDetails {
    model: string | null
    /** The model that was asked for, if another one answered. */
    requestedModel: string | null
    fallbackReason: string | null
    isCached: boolean
    inputTokens: number | null
    outputTokens: number | null
    areTokensEstimated: boolean
    cost: string | null
    firstTokenTime: number | null
    duration: number | null
    attempts: number | null
    /** Earlier messages that did not fit the context window, and how many of them a summary replaced. */
    leftOut: number
    summarized: number
    /** Whether the answer ends because it reached its token limit. */
    isTruncated: boolean
    /** Whether the content is the service's apology instead of text of a model. */
    isFallbackText: boolean
    reasoning: string | null
    errorCode: string | null
}

function text(value: unknown): string | null {
    return typeof value === 'string' && value !== '' ? value : null
}

function number(value: unknown): number | null {
    return typeof value === 'number' && Number.isFinite(value) ? value : null
}

/** Return the details of an answer. Fields that are missing or of another type are null. */
export function answerDetails({ metadata, processing_time_ms: duration }: MessageResponse): AnswerDetails {
    const tokens = (metadata.tokens_used ?? {}) as Record<string, unknown>
    const model = text(metadata.model_used)
    return {
        model,
        requestedModel: metadata.fallback_model === true ? text(metadata.model_requested) : null,
        fallbackReason: metadata.fallback_model === true ? text(metadata.fallback_reason) : null,
        isCached: metadata.cached === true,
        inputTokens: number(tokens.input),
        outputTokens: number(tokens.output),
        areTokensEstimated: metadata.tokens_estimated === true,
        cost: text(metadata.cost_usd),
        firstTokenTime: number(metadata.first_token_ms),
        duration: duration > 0 ? duration : null,
        attempts: number(metadata.attempts),
        leftOut: number(metadata.history_left_out) ?? 0,
        summarized: number(metadata.history_summarized) ?? 0,
        isTruncated: metadata.finish_reason === 'length',
        isFallbackText: metadata.fallback === true,
        reasoning: text(metadata.reasoning),
        errorCode: text(metadata.error),
    }
}
