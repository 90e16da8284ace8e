"""Errors and finish reasons in the words of each engine: see `docs/reference/provider-faults.md`."""

import json
import time
from collections.abc import Callable
from email.utils import formatdate

from tests.support.fault_builders import answer_document, delta_event, event, report_fault, status_fault
from tests.support.provider import DONE, Call, Wire, chunk, sends, streams
from tests.support.provider_faults import TEXT, Fault


def _wording(name: str, status: int, message: str) -> Fault:
    return status_fault(name, status, {"error": {"message": message}})


def _ends_with(reason: str, *, is_answer: bool = False) -> Fault:
    plain = answer_document(finish_reason=reason)
    streamed = (chunk(TEXT), delta_event({}, finish_reason=reason), DONE)
    return Fault(f"`finish_reason` `{reason}`", sends(plain), streams(*streamed), is_answer)


def _limited_until(name: str, header: str, point: Callable[[float], str], remaining: str | None = None) -> Fault:
    """Return a refusal whose header has the point in time one and a half seconds ahead."""

    async def behave(_: Call, wire: Wire) -> None:
        headers = {header: point(time.time() + 1.5)} | ({} if remaining is None else {remaining: "0"})
        await wire.json(429, {"error": {"message": "x"}}, headers)

    return Fault(name, behave, behave, has_retry_after=True)


def _limited(headers: dict[str, str], *, has_retry_after: bool = True) -> Fault:
    name = ", ".join(f"`{header}: {value}`" for header, value in headers.items())
    return status_fault(f"429, {name}", 429, {"error": {"message": "x"}}, headers, has_retry_after=has_retry_after)


def _quoted_by_a_gateway(code: str) -> dict[str, object]:
    raw = json.dumps({"error": {"code": code, "message": "x"}})
    return {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}


TOO_LONG = [
    status_fault(
        "400, context too long, OpenAI, `string_above_max_length`",
        400,
        {"error": {"code": "string_above_max_length", "message": "Invalid 'messages[0].content'."}},
    ),
    _wording(
        "400, context too long, Azure",
        400,
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 509178 tokens.",
    ),
    _wording(
        "429, context too long, OpenAI",
        429,
        "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 35000.",
    ),
    _wording("413, context too long, Groq", 413, "Request too large for model `x` on tokens per minute: Limit 6000."),
    _wording("400, context too long, Groq", 400, "Please reduce the length of the messages or completion."),
    _wording("400, no room for an answer, vLLM", 400, "max_tokens must be at least 1, got -50."),
    _wording(
        "400, context too long, SGLang", 400, "The input (9000 tokens) is longer than the model's context length."
    ),
    status_fault(
        "422, context too long, TGI",
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.",
            "error_type": "validation",
        },
    ),
    _wording(
        "400, context too long, LM Studio", 400, "Trying to keep the first 5000 tokens. context length of only 4096"
    ),
    _wording("400, context too long, Anthropic", 400, "prompt is too long: 209303 tokens > 200000 maximum"),
    _wording("400, context too long, Bedrock", 400, "Input is too long for requested model."),
    status_fault(
        "400, context too long, Cohere",
        400,
        {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"},
    ),
    _wording("400, context too long, Perplexity", 400, "The total length of all messages is too long."),
    status_fault(
        "400, context too long, xAI",
        400,
        {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072."},
    ),
    _wording("400, context too long, Moonshot", 400, "Invalid request: Your request exceeded model token limit: 8192"),
    _wording("400, context too long, DashScope", 400, "Range of input length should be [1, 30720]"),
    status_fault("400, context too long, Zhipu", 400, {"error": {"code": "1261", "message": "Prompt 超长"}}),
    _wording("400, context too long, LiteLLM", 400, "litellm.ContextWindowExceededError: AnthropicError - x"),
    status_fault("400, context too long, quoted by a gateway", 400, _quoted_by_a_gateway("context_length_exceeded")),
    Fault(
        "context too long, `error:` line of llama.cpp",
        sends(b'{"error": {"code": 400, "message": "the request exceeds the available context size"}}'),
        streams(b'error: {"code": 400, "message": "the request exceeds the available context size"}\n\n'),
    ),
]
REFUSED = [
    status_fault(
        "400, content filter of OpenAI, `content_policy_violation`",
        400,
        {"error": {"code": "content_policy_violation", "message": "x"}},
    ),
    status_fault(
        "400, content filter of OpenAI, `moderation_blocked`",
        400,
        {"error": {"code": "moderation_blocked", "message": "x"}},
    ),
    _wording("400, usage policy of OpenAI", 400, "Invalid prompt: your prompt was flagged. See our usage policy."),
    status_fault(
        "400, content filter of Azure, `innererror` only",
        400,
        {"error": {"message": "x", "innererror": {"content_filter_result": {}}}},
    ),
    status_fault(
        "400, content filter of DashScope",
        400,
        {"error": {"code": "data_inspection_failed", "message": "Output data may contain inappropriate content."}},
    ),
    status_fault(
        "400, content filter of Volcengine",
        400,
        {"error": {"code": "InputTextSensitiveContentDetected", "message": "x"}},
    ),
    status_fault(
        "400, content filter of Zhipu",
        400,
        {"error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"}},
    ),
    _wording("400, content filter of DeepSeek", 400, "Content Exists Risk"),
    _wording("400, content filter of LiteLLM", 400, "litellm.ContentPolicyViolationError: AzureException - x"),
    status_fault("400, content filter, quoted by a gateway", 400, _quoted_by_a_gateway("content_filter")),
    _wording("451, content policy", 451, "The request violates the content policy."),
    report_fault("Gemini blocks the prompt, `SAFETY`", {"promptFeedback": {"blockReason": "SAFETY"}}),
    report_fault("Gemini blocks the prompt, `BLOCKLIST`", {"promptFeedback": {"blockReason": "BLOCKLIST"}}),
]
LIMITED = [
    status_fault(
        "429, `retryDelay` of Gemini",
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "You exceeded your current quota",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}],
                }
            }
        ],
        has_retry_after=True,
    ),
    _limited({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1000ms"}),
    _limited({"x-ratelimit-remaining-tokens": "9", "x-ratelimit-reset-tokens": "1000s"}, has_retry_after=False),
    _limited({"x-ratelimit-remaining-input-tokens": "0", "x-ratelimit-reset-input-tokens": "1"}),
    _limited({"x-ratelimit-remaining-output-tokens": "0", "x-ratelimit-reset-output-tokens": "0m1s"}),
    _limited({"ratelimit-remaining": "0", "ratelimit-reset": "1"}),
    _limited_until("429, `retry-after` is a date", "retry-after", lambda point: formatdate(point + 0.5, usegmt=True)),
    _limited_until("429, `x-ratelimit-reset` in seconds since 1970", "x-ratelimit-reset", str, "x-ratelimit-remaining"),
    _limited_until(
        "429, `x-ratelimit-reset` in milliseconds since 1970",
        "x-ratelimit-reset",
        lambda point: str(int(point * 1000)),
        "x-ratelimit-remaining",
    ),
    _limited_until(
        "429, `x-ratelimit-reset` is a date",
        "x-ratelimit-reset",
        lambda point: formatdate(point + 0.5, usegmt=True),
        "x-ratelimit-remaining",
    ),
    report_fault(
        "rate limit with status 200, OpenRouter",
        {"error": {"message": "Provider returned error", "metadata": {"error_type": "rate_limit_exceeded"}}},
    ),
]
NO_BALANCE = [
    *(
        status_fault(f"{status}, no balance, {engine}, `{code}`", status, {"error": {"code": code, "message": "x"}})
        for status, engine, code in (
            (400, "OpenAI", "billing_hard_limit_reached"),
            (429, "OpenAI", "billing_not_active"),
            (429, "Moonshot", "exceeded_current_quota_error"),
            (403, "Volcengine", "AccountOverdueError"),
            (400, "DashScope", "Arrearage"),
            (422, "xAI", "insufficient_balance"),
        )
    ),
    _wording("400, no balance, Anthropic", 400, "Your credit balance is too low to access the API."),
    _wording("403, no balance, Zhipu", 403, "余额不足或无可用资源包,请充值。"),
    _wording("400, no balance, LiteLLM", 400, "Budget has been exceeded! Current cost: 1.0, Max budget: 0.5"),
]
FAILED = [
    status_fault("500, `INTERNAL` of Gemini", 500, [{"error": {"code": 500, "message": "x", "status": "INTERNAL"}}]),
    status_fault(
        "503, `UNAVAILABLE` of Gemini",
        503,
        [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}],
    ),
    status_fault(
        "503, llama.cpp loads the model",
        503,
        {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
    ),
    report_fault("error of Anthropic with status 200", {"type": "error", "error": {"type": "overloaded_error"}}),
    report_fault("provider unavailable with status 200, OpenRouter", {"error": {"code": 502, "message": "x"}}),
    Fault(
        "error in a list with status 200, Gemini",
        sends(b'[{"error": {"code": 503, "status": "UNAVAILABLE"}}]'),
        streams(event([{"error": {"code": 503, "status": "UNAVAILABLE"}}])),
    ),
    Fault(
        "event of type `error`",
        sends(b'{"error": {"message": "x", "type": "server_error"}}'),
        streams(b'event: error\ndata: {"message": "x", "type": "server_error"}\n\n'),
    ),
]
REJECTED = [
    status_fault(
        "400, key not valid, Gemini",
        400,
        [{"error": {"code": 400, "message": "x", "details": [{"reason": "API_KEY_INVALID"}]}}],
    ),
    status_fault("404, `model_not_found`", 404, {"error": {"code": "model_not_found", "message": "x"}}),
    _wording("400, unknown model, Groq", 400, "The model `x` has been decommissioned and is no longer supported."),
    _wording("400, unknown model, OpenRouter", 400, "x/y is not a valid model ID"),
    _wording("400, unknown model, LiteLLM", 400, "Invalid model name passed in model=x"),
    # The name of a fault is in the question of its turn.
    _wording('400 that quotes the question: "insufficient balance"', 400, "Cannot parse 'insufficient balance'."),
    _wording('422 that quotes the question: "API key not valid"', 422, "Cannot parse 'API key not valid'."),
]
FINISH_REASONS = [
    *(
        _ends_with(reason)
        for reason in (
            "blocklist",
            "content_filtered",
            "content_filter: PROHIBITED_CONTENT",
            "guardrail_intervened",
            "IMAGE_SAFETY",
            "prohibited_content",
            "RECITATION",
            "refusal",
            "sensitive",
            "SPII",
        )
    ),
    *(
        _ends_with(reason)
        for reason in (
            "abort",
            "cancelled",
            "error",
            "function_call",
            "insufficient_system_resource",
            "MALFORMED_FUNCTION_CALL",
            "network_error",
            "OTHER",
            "timeout",
            "tool_use",
            "UNEXPECTED_TOOL_CALL",
        )
    ),
    *(
        _ends_with(reason, is_answer=True)
        for reason in ("max_length", "MAX_TOKENS", "model_context_window_exceeded", "model_length")
    ),
]
ERRORS = [*TOO_LONG, *REFUSED, *LIMITED, *NO_BALANCE, *FAILED, *REJECTED, *FINISH_REASONS]
