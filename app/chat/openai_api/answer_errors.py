"""Errors of requests whose answer failed: this API has no other form for failed answers."""

from collections.abc import Mapping
from typing import Any, Final

from app.core.exceptions import (
    AppError,
    BadGatewayError,
    BadRequestError,
    ConflictError,
    GatewayTimeoutError,
    ServiceUnavailableError,
)

CONTEXT_LENGTH_EXCEEDED: Final = "context_length_exceeded"
_TOO_LONG: Final = frozenset({"message_too_long", "prompt_too_long"})
_OUTSIDE_FAULTS: Final[Mapping[str, type[BadGatewayError | GatewayTimeoutError]]] = {
    "turn_timeout": GatewayTimeoutError,
    "provider_timeout": GatewayTimeoutError,
    "provider_bad_response": BadGatewayError,
    "provider_rejected": BadGatewayError,
    "internal_error": BadGatewayError,
}
_RETRY_AFTER: Final = 5
_REQUEST_FAULTS: Final = {
    "provider_refused": "The model's provider withheld the answer by its content policy.",
    "reasoning_exhausted": "The token limit was reached before the answer began. Increase max_completion_tokens.",
}
_REJECTED: Final = (
    "The model's provider rejected the request. The model may not support its tools, format, images or parameters."
)
_CODES: Final = {"provider_refused": "content_filter"}


def context_length_error(window: int, needed: int | None = None) -> BadRequestError:
    """Return the error of a conversation that exceeds the context window, both in tokens.

    It is worded as OpenAI words it, because clients recognise it by the first words.
    """
    result = f"your messages resulted in {needed} tokens" if needed else "your messages resulted in more"
    return BadRequestError(
        f"This model's maximum context length is {window} tokens. However, {result}. "
        "Please reduce the length of the messages.",
        code=CONTEXT_LENGTH_EXCEEDED,
    )


def answer_error(code: str, metadata: Mapping[str, Any], *, window: int) -> AppError:
    """Return the error for the code of a failed, cancelled or interrupted answer. `window`: that of its model."""
    if code in _TOO_LONG:
        return context_length_error(window)
    rejected = _REJECTED if code == "provider_rejected" and metadata.get("request_rejected") else None
    if detail := _REQUEST_FAULTS.get(code, rejected):
        return BadRequestError(detail, code=_CODES.get(code, code))
    if code == "cancelled":
        return ConflictError("The answer was cancelled.", code=code)
    if (error := _OUTSIDE_FAULTS.get(code)) is not None:
        return error(code=code)
    return ServiceUnavailableError("No model is available at the moment.", code=code, retry_after=_RETRY_AFTER)
