"""Dialects of hosted engines, as their documentation and reports of their users describe them."""

from typing import Any

from tests.support.engines.engine import (
    DONE,
    FILTERED,
    NO_BALANCE,
    RATE_LIMITED,
    REASONING,
    TEXT,
    TOO_LONG,
    USAGE,
    WRONG_KEY,
    Engine,
    Response,
    chunk,
    completion,
    error,
    event,
    refuse_parameters,
)

_TOO_LONG = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
_OPENAI_ERRORS = {
    TOO_LONG: error(
        400, message=_TOO_LONG, type="invalid_request_error", param="messages", code="context_length_exceeded"
    ),
    RATE_LIMITED: error(
        429,
        {"retry-after-ms": "10", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "10ms"},
        message="Rate limit reached for requests per min.",
        type="requests",
        param=None,
        code="rate_limit_exceeded",
    ),
    FILTERED: Response(
        completion({"content": None, "refusal": "I can't help with that."}, usage=USAGE),
        events=(
            chunk({"role": "assistant", "content": None, "refusal": ""}),
            chunk({"refusal": "I can't help with that."}),
            chunk({}, "stop"),
            chunk(None, usage=USAGE),
            DONE,
        ),
    ),
    NO_BALANCE: error(
        429,
        message="Quota exceeded.",
        type="insufficient_quota",
        param=None,
        code="insufficient_quota",
    ),
    WRONG_KEY: error(
        401, message="Incorrect API key.", type="invalid_request_error", param=None, code="invalid_api_key"
    ),
}


def _openai_answer(**usage: object) -> Response:
    extra = {"service_tier": "default", "system_fingerprint": "fp_1"}
    message: dict[str, Any] = {"content": TEXT, "refusal": None, "annotations": []}
    return Response(
        completion(message, usage=USAGE | usage, **extra),
        events=(
            chunk({"role": "assistant", "content": "", "refusal": None}, usage=None, obfuscation="x", **extra),
            chunk({"content": "The "}, usage=None, obfuscation="xy", **extra),
            chunk({"content": "answer."}, usage=None, **extra),
            chunk({}, "stop", usage=None, **extra),
            chunk(None, usage=USAGE | usage, **extra),
            DONE,
        ),
    )


def _openai_refusal(name: str) -> Response:
    other = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
    message = f"Unsupported parameter: '{name}' is not supported with this model.{other}"
    return error(400, message=message, type="invalid_request_error", param=name, code="unsupported_parameter")


def _check_reasoning_model(body: dict[str, Any]) -> Response | None:
    if body["messages"][0]["role"] == "system":
        message = "Unsupported value: 'messages[0].role' does not support 'system' with this model."
        return error(400, message=message, param="messages[0].role", code="unsupported_value")
    return refuse_parameters(["max_tokens", "temperature", "top_p"], _openai_refusal)(body)


OPENAI = Engine("OpenAI", "/openai/v1", _openai_answer(), _OPENAI_ERRORS)
OPENAI_REASONING = Engine(
    "OpenAI, o-series",
    "/openai-reasoning/v1",
    _openai_answer(completion_tokens_details={"reasoning_tokens": 2}),
    _OPENAI_ERRORS,
    _check_reasoning_model,
    model={"system_role": "developer", "reasoning_effort": "low", "capabilities": ["reasoning"]},
    adapted={"max_tokens": "max_completion_tokens", "temperature": None},
)

_SAFE = {"hate": {"filtered": False, "severity": "safe"}}
AZURE = Engine(
    "Azure",
    "/azure/openai/deployments/d?api-version=2024-10-21",
    Response(
        completion({"content": TEXT}, usage=USAGE, prompt_filter_results=[{"content_filter_results": _SAFE}]),
        events=(
            chunk(None, model="", prompt_filter_results=[{"prompt_index": 0, "content_filter_results": _SAFE}]),
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": TEXT}),
            chunk({}, "stop"),
            chunk(None, usage=USAGE),
            DONE,
        ),
    ),
    {
        TOO_LONG: _OPENAI_ERRORS[TOO_LONG],
        RATE_LIMITED: error(
            429, {"retry-after": "0", "retry-after-ms": "10"}, code="429", message="Requests have exceeded the limit."
        ),
        FILTERED: error(
            400,
            message="The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            type=None,
            param="prompt",
            code="content_filter",
            status=400,
            innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}},
        ),
        WRONG_KEY: error(401, code="401", message="Access denied due to invalid subscription key or wrong endpoint."),
    },
    provider={"api_key_header": "api-key", "headers": {"X-Team": "chat"}},
    model={"provider_model": "model of Azure", "display_name": "GPT (EU)"},
)
DEEPSEEK = Engine(
    "DeepSeek",
    "/deepseek",
    Response(
        completion({"content": TEXT, "reasoning_content": REASONING}, usage=USAGE),
        events=(
            b": keep-alive\n\n",
            chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
            chunk({"content": None, "reasoning_content": REASONING}),
            b": keep-alive\n\n",
            chunk({"content": TEXT, "reasoning_content": None}),
            chunk({"content": "", "reasoning_content": None}, "stop", usage=USAGE),
            DONE,
        ),
        prefix=b"\n\n\n",
    ),
    {
        TOO_LONG: error(400, message=_TOO_LONG, type="invalid_request_error", param=None, code="invalid_request_error"),
        RATE_LIMITED: error(429, message="Rate limit reached", type="rate_limit_error", code=None),
        FILTERED: error(400, message="Content Exists Risk", type="invalid_request_error", param=None),
        NO_BALANCE: error(402, message="Insufficient Balance", type="unknown_error", code="invalid_request_error"),
        WRONG_KEY: error(401, message="Authentication Fails", type="authentication_error"),
    },
    reasoning=REASONING,
)
OPENROUTER = Engine(
    "OpenRouter",
    "/openrouter/api/v1",
    Response(
        completion(
            {"content": TEXT, "reasoning": REASONING, "reasoning_details": [{"type": "reasoning.text"}]},
            usage=USAGE | {"cost": 0.1},
            provider="Upstream",
        ),
        events=(
            b": OPENROUTER PROCESSING\n\n",
            chunk({"role": "assistant", "content": "", "reasoning": REASONING}, provider="Upstream"),
            b": OPENROUTER PROCESSING\n\n",
            chunk({"role": "assistant", "content": TEXT}, provider="Upstream"),
            event(
                {
                    "choices": [
                        {"index": 0, "delta": {"content": ""}, "finish_reason": "stop", "native_finish_reason": ""}
                    ]
                }
            ),
            chunk(None, usage=USAGE | {"cost": 0.1}),
            DONE,
        ),
    ),
    {
        TOO_LONG: error(400, code=400, message=_TOO_LONG.replace("This model's", "This endpoint's")),
        RATE_LIMITED: error(
            429,
            code=429,
            message="Provider returned error",
            metadata={"raw": "x is rate-limited"},
        ),
        FILTERED: error(
            403, code=403, message="Your input was flagged", metadata={"reasons": ["hate"], "flagged_input": "y"}
        ),
        NO_BALANCE: error(402, code=402, message="This request requires more credits, or fewer max_tokens."),
        WRONG_KEY: error(401, code=401, message="User not found."),
    },
    provider={"headers": {"HTTP-Referer": "https://chat.example.com", "X-Title": "Chat"}},
    reasoning=REASONING,
)


def _mistral_refusal(name: str) -> Response:
    detail = [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted", "input": 1}]
    document = {"object": "error", "message": {"detail": detail}, "type": "invalid_request_error", "code": None}
    return Response(document, 422)


_MISTRAL_TEXT = {"type": "text", "text": TEXT}
_MISTRAL_THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": REASONING}]}
MISTRAL = Engine(
    "Mistral",
    "/mistral/v1",
    Response(
        completion({"content": [_MISTRAL_THOUGHT, _MISTRAL_TEXT], "tool_calls": None, "prefix": False}, usage=USAGE),
        events=(
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": [_MISTRAL_THOUGHT]}),
            chunk({"content": [_MISTRAL_TEXT]}),
            chunk({"content": ""}, "stop", usage=USAGE),
            DONE,
        ),
    ),
    {
        TOO_LONG: Response(
            {
                "object": "error",
                "message": "Prompt contains 9000 tokens and 0 draft tokens, too large for model with 8192 maximum",
                "type": "invalid_request_prompt",
                "code": "3051",
            },
            400,
        ),
        RATE_LIMITED: Response(
            {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"}, 429
        ),
        WRONG_KEY: Response({"detail": "Unauthorized"}, 401),
    },
    refuse_parameters(["stream_options"], _mistral_refusal),
    reasoning=REASONING,
    adapted={"stream_options": None},
)


def _gemini_error(status: int, name: str, message: str, *details: object) -> Response:
    return Response([{"error": {"code": status, "message": message, "status": name, "details": details}}], status)


def _gemini_refusal(name: str) -> Response:
    message = f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
    return _gemini_error(400, "INVALID_ARGUMENT", message)


GEMINI = Engine(
    "Gemini",
    "/gemini/v1beta/openai",
    Response(
        completion({"content": f"<thought>{REASONING}</thought>{TEXT}"}, usage=USAGE),
        events=(
            chunk({"role": "assistant", "content": "<thought>Let me "}, usage=USAGE | {"completion_tokens": 1}),
            chunk({"role": "assistant", "content": f"think.</thought>{TEXT[:4]}"}, usage=USAGE),
            chunk({"role": "assistant", "content": TEXT[4:]}, "stop", usage=USAGE),
            DONE,
        ),
    ),
    {
        TOO_LONG: _gemini_error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (9000) exceeds the maximum number of tokens allowed (8192).",
        ),
        RATE_LIMITED: _gemini_error(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details.",
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.01s"},
        ),
        FILTERED: Response(
            completion({}, "content_filter: PROHIBITED_CONTENT"),
            events=(chunk({"role": "assistant"}, "content_filter: PROHIBITED_CONTENT", usage=USAGE), DONE),
        ),
        WRONG_KEY: _gemini_error(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"},
        ),
    },
    refuse_parameters(["frequency_penalty", "top_k"], _gemini_refusal),
    reasoning=REASONING,
)
HOSTED = (OPENAI, OPENAI_REASONING, AZURE, DEEPSEEK, OPENROUTER, MISTRAL, GEMINI)
