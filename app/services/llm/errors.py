"""What may go wrong at a provider, and the one error that it becomes."""

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
"""What another request may not get. A wrong key or an unknown model is no fault of the request."""
_KNOWN_ERROR_CODES = {
    "context_length_exceeded": "prompt_too_long",
    "content_filter": "provider_refused",
    "content_policy_violation": "provider_refused",
    "insufficient_quota": "provider_quota_exceeded",
}
"""OpenAI's codes of what will not get better by itself, and ours."""
_CONNECTION_ERRORS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class _ErrorDetail(BaseModel):
    code: str | None = None


class _ErrorBody(BaseModel):
    """What is read of the provider's reasons."""

    error: _ErrorDetail


class ProviderStatusError(Exception):
    """The provider answered with a status that is no success."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        try:
            self.code = _ErrorBody.model_validate_json(body).error.code
        except ValidationError:
            self.code = None
        super().__init__()


class UnusableAnswerError(Exception):
    """There is an answer, which is not to be given to anybody. The provider may have counted its tokens."""

    def __init__(self, usage: ProviderUsage | None) -> None:
        self.token_counts = usage.token_counts if usage else None
        super().__init__()


class EmptyAnswerError(UnusableAnswerError):
    """There is nothing in the answer."""


class ContentFilteredError(UnusableAnswerError):
    """The provider does not let the model answer this."""


class IncompleteAnswerError(UnusableAnswerError):
    """The answer is not whole."""


class InvalidBodyError(Exception):
    """The provider's body is compressed although that was declined, or too large."""


@contextmanager
def translate_provider_errors(model: str) -> Iterator[None]:
    """Turn whatever an attempt may raise into `ModelError`."""
    try:
        yield
    except ProviderStatusError as error:
        raise _logged(model, _from_status(error), error, status=error.status) from error
    except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
        code = "provider_timeout" if _is_caused_by(error, TimeoutError) else "provider_unreachable"
        failure = ModelError(code, retryable=True, may_have_used_tokens=not _is_caused_by(error, *_CONNECTION_ERRORS))
        raise _logged(model, failure, error) from error
    except UnusableAnswerError as error:
        raise _logged(model, _from_unusable_answer(error), error) from error
    except ProviderStreamError as error:
        raise _logged(model, ModelError("provider_error", retryable=True, may_have_used_tokens=True), error) from error
    except (httpx2.StreamError, httpx2.InvalidURL, InvalidBodyError, ValueError, RecursionError) as error:
        failure = ModelError("provider_bad_response", retryable=True, may_have_used_tokens=True)
        raise _logged(model, failure, error) from error


def _is_caused_by(error: BaseException | None, *kinds: type[BaseException]) -> bool:
    # The transport calls nearly everything a timeout: what it was caused by tells them apart.
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__
    return error is not None


def _from_unusable_answer(error: UnusableAnswerError) -> ModelError:
    is_withheld = isinstance(error, ContentFilteredError)
    return ModelError(
        "provider_refused" if is_withheld else "provider_bad_response",
        retryable=not is_withheld,
        is_model_fault=isinstance(error, IncompleteAnswerError),
        may_have_used_tokens=True,
        token_counts=error.token_counts,
    )


def _from_status(error: ProviderStatusError) -> ModelError:
    status = error.status
    is_providers_fault = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    known = _KNOWN_ERROR_CODES.get(error.code or "")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        code = "provider_rate_limited"
    else:
        code = "provider_error" if is_providers_fault else "provider_rejected"
    return ModelError(
        known or code,
        retryable=known is None and (is_providers_fault or status in _RETRYABLE_STATUSES),
        retry_after=_retry_after(error.headers),
        is_model_fault=status not in _CLIENT_ERROR_STATUSES,
    )


def _logged(model: str, failure: ModelError, error: Exception, *, status: int | None = None) -> ModelError:
    # The kind of the exception, not its text: a provider may repeat the prompt or the key in it.
    reason = type(_root_cause(error)).__name__
    logger.warning(
        "model attempt failed",
        extra={"model": model, "code": failure.code, "provider_status": status, "reason": reason},
    )
    return failure


def _root_cause(error: BaseException) -> BaseException:
    """Return the fault of the network that it began with, or else the error itself."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return next((cause for cause in reversed(causes) if isinstance(cause, OSError)), error)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read RFC 9110, section 10.2.3: seconds, or a date. Anything else says nothing."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = max(parsedate_to_datetime(value).timestamp() - time.time(), 0)
        except (ValueError, OverflowError, OSError):
            return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
