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

from app.graph.context import ModelError
from app.services.llm.sse_parser import ProviderFaultError, Usage

logger = logging.getLogger(__name__)

_RETRYABLE_STATUSES = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
_REQUESTS_FAULT = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
"""What another request may not get. A wrong key or an unknown model is no fault of the request."""
_KNOWN_REFUSALS = {
    "context_length_exceeded": "prompt_too_long",
    "content_filter": "provider_refused",
    "content_policy_violation": "provider_refused",
    "insufficient_quota": "provider_quota_exceeded",
}
"""OpenAI's codes of what will not get better by itself, and ours."""
_NOT_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class _RefusalReason(BaseModel):
    code: str | None = None


class _Refusal(BaseModel):
    """What is read of the provider's reasons."""

    error: _RefusalReason


class RefusedError(Exception):
    """The provider answered with a status that is no success."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        try:
            self.code = _Refusal.model_validate_json(body).error.code
        except ValidationError:
            self.code = None
        super().__init__()


class UnfitAnswerError(Exception):
    """There is an answer, which is not to be given to anybody. The provider may have counted its tokens."""

    def __init__(self, usage: Usage | None) -> None:
        self.spent = usage.spent if usage else None
        super().__init__()


class BlankError(UnfitAnswerError):
    """There is nothing in the answer."""


class WithheldError(UnfitAnswerError):
    """The provider does not let the model answer this."""


class BrokenOffError(UnfitAnswerError):
    """The answer is not whole."""


class UnfitBodyError(Exception):
    """The provider's body is compressed although that was declined, or too large."""


@contextmanager
def one_error(model: str) -> Iterator[None]:
    """Turn whatever an attempt may raise into `ModelError`."""
    try:
        yield
    except RefusedError as error:
        raise _logged(model, _refused(error), error, status=error.status) from error
    except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
        code = "provider_timeout" if _is_because_of(error, TimeoutError) else "provider_unreachable"
        failure = ModelError(code, retryable=True, may_have_cost=not _is_because_of(error, *_NOT_CONNECTED))
        raise _logged(model, failure, error) from error
    except UnfitAnswerError as error:
        raise _logged(model, _unfit(error), error) from error
    except ProviderFaultError as error:
        raise _logged(model, ModelError("provider_error", retryable=True, may_have_cost=True), error) from error
    except (httpx2.StreamError, httpx2.InvalidURL, UnfitBodyError, ValueError, RecursionError) as error:
        failure = ModelError("provider_bad_response", retryable=True, may_have_cost=True)
        raise _logged(model, failure, error) from error


def _is_because_of(error: BaseException | None, *kinds: type[BaseException]) -> bool:
    # The transport calls nearly everything a timeout: what it was caused by tells them apart.
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__
    return error is not None


def _unfit(error: UnfitAnswerError) -> ModelError:
    is_withheld = isinstance(error, WithheldError)
    return ModelError(
        "provider_refused" if is_withheld else "provider_bad_response",
        retryable=not is_withheld,
        is_models_fault=isinstance(error, BrokenOffError),
        may_have_cost=True,
        spent=error.spent,
    )


def _refused(error: RefusedError) -> ModelError:
    status = error.status
    is_providers_fault = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    known = _KNOWN_REFUSALS.get(error.code or "")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        code = "provider_rate_limited"
    else:
        code = "provider_error" if is_providers_fault else "provider_rejected"
    return ModelError(
        known or code,
        retryable=known is None and (is_providers_fault or status in _RETRYABLE_STATUSES),
        retry_after=_retry_after(error.headers),
        is_models_fault=status not in _REQUESTS_FAULT,
    )


def _logged(model: str, failure: ModelError, error: Exception, *, status: int | None = None) -> ModelError:
    # The kind of the exception, not its text: a provider may repeat the prompt or the key in it.
    reason = type(_origin(error)).__name__
    logger.warning(
        "model attempt failed",
        extra={"model": model, "code": failure.code, "provider_status": status, "reason": reason},
    )
    return failure


def _origin(error: BaseException) -> BaseException:
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
