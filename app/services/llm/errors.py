"""Errors of model providers, and their translation to `ModelError`."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import aiohttp
import httpx2
from pydantic import BaseModel, ValidationError

from app.graph.ports.chat_model import ModelError
from app.services.llm.sse_parser import ProviderStreamError, ProviderUsage

logger = logging.getLogger(__name__)

_RETRYABLE_STATUSES = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
_CLIENT_ERROR_STATUSES = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
"""Statuses that are specific to one request. A wrong key or an unknown model concerns all requests."""
_KNOWN_ERROR_CODES = {
    "context_length_exceeded": "prompt_too_long",
    "content_filter": "provider_refused",
    "content_policy_violation": "provider_refused",
    "insufficient_quota": "provider_quota_exceeded",
}
"""OpenAI's error codes of failures that a retry does not resolve, and the codes of this project."""
_CONNECTION_ERRORS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class _ErrorDetail(BaseModel):
    code: str | None = None


class _ErrorBody(BaseModel):
    """The part of a provider's error body that is used."""

    error: _ErrorDetail


class ProviderStatusError(Exception):
    """The provider answered with a status other than 2xx."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        try:
            self.code = _ErrorBody.model_validate_json(body).error.code
        except ValidationError:
            self.code = None
        super().__init__()


class UnusableAnswerError(Exception):
    """The provider sent an answer that cannot be used."""

    def __init__(self, usage: ProviderUsage | None) -> None:
        self.token_counts = usage.token_counts if usage else None
        super().__init__()


class EmptyAnswerError(UnusableAnswerError):
    """The answer has no text."""


class ContentFilteredError(UnusableAnswerError):
    """The provider's content filter withheld the answer."""


class IncompleteAnswerError(UnusableAnswerError):
    """The answer is incomplete."""


class InvalidBodyError(Exception):
    """The response body is too large, or compressed although `Accept-Encoding` excludes that."""


@contextmanager
def translate_provider_errors(model: str) -> Iterator[None]:
    """Translate the exceptions of an attempt to `ModelError`, and log them."""
    try:
        yield
    except ProviderStatusError as error:
        raise _log_failure(model, _from_status(error), error, status=error.status) from error
    except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
        code = "provider_timeout" if _is_caused_by(error, TimeoutError) else "provider_unreachable"
        failure = ModelError(code, retryable=True, may_have_used_tokens=not _is_caused_by(error, *_CONNECTION_ERRORS))
        raise _log_failure(model, failure, error) from error
    except UnusableAnswerError as error:
        raise _log_failure(model, _from_unusable_answer(error), error) from error
    except ProviderStreamError as error:
        raise _log_failure(
            model, ModelError("provider_error", retryable=True, may_have_used_tokens=True), error
        ) from error
    except (httpx2.StreamError, httpx2.InvalidURL, InvalidBodyError, ValueError, RecursionError) as error:
        failure = ModelError("provider_bad_response", retryable=True, may_have_used_tokens=True)
        raise _log_failure(model, failure, error) from error


def _is_caused_by(error: BaseException | None, *types: type[BaseException]) -> bool:
    # The transport raises a timeout error for most failures; only the cause tells them apart.
    while error is not None and not isinstance(error, types):
        error = error.__cause__
    return error is not None


def _from_unusable_answer(error: UnusableAnswerError) -> ModelError:
    is_filtered = isinstance(error, ContentFilteredError)
    return ModelError(
        "provider_refused" if is_filtered else "provider_bad_response",
        retryable=not is_filtered,
        is_model_fault=isinstance(error, IncompleteAnswerError),
        may_have_used_tokens=True,
        token_counts=error.token_counts,
    )


def _from_status(error: ProviderStatusError) -> ModelError:
    status = error.status
    is_server_error = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    known = _KNOWN_ERROR_CODES.get(error.code or "")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        code = "provider_rate_limited"
    else:
        code = "provider_error" if is_server_error else "provider_rejected"
    return ModelError(
        known or code,
        retryable=known is None and (is_server_error or status in _RETRYABLE_STATUSES),
        retry_after=_retry_after(error.headers),
        is_model_fault=status not in _CLIENT_ERROR_STATUSES,
    )


def _log_failure(model: str, failure: ModelError, error: Exception, *, status: int | None = None) -> ModelError:
    # The type of the exception, not its message, which may contain the prompt or the key.
    reason = type(_root_cause(error)).__name__
    logger.warning(
        "model attempt failed",
        extra={"model": model, "code": failure.code, "provider_status": status, "reason": reason},
    )
    return failure


def _root_cause(error: BaseException) -> BaseException:
    """Return the `OSError` at the root of the chain of causes, or else the error itself."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return next((cause for cause in reversed(causes) if isinstance(cause, OSError)), error)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After` (RFC 9110, section 10.2.3). None: it is missing or invalid."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = max(parsedate_to_datetime(value).timestamp() - time.time(), 0)
        except (ValueError, OverflowError, OSError):
            return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
