"""Errors of model providers, and their translation to `ModelError`."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
import httpx2

from app.graph.ports.chat_model import ModelError, ModelTokenCounts
from app.services.llm.documents import ReportedError, parse_json
from app.services.llm.error_classes import classify
from app.services.llm.error_reports import read_error_report
from app.services.llm.retry_after import retry_after

logger = logging.getLogger(__name__)

_CONNECTION_ERRORS = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


class ProviderStatusError(Exception):
    """The provider answered with a status other than 2xx."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        try:
            document = parse_json(body)
        except (ValueError, RecursionError):
            document = body.decode("utf-8", "replace")
        self.report = read_error_report(document, status)
        super().__init__()


class UnusableAnswerError(Exception):
    """The provider sent an answer that cannot be used."""

    def __init__(self, token_counts: ModelTokenCounts | None) -> None:
        self.token_counts = token_counts
        super().__init__()


class EmptyAnswerError(UnusableAnswerError):
    """The answer has no text."""


class ContentFilteredError(UnusableAnswerError):
    """The model refused to answer, or a content filter withheld the answer or ended it."""


class ReasoningExhaustedError(UnusableAnswerError):
    """The token limit was reached before the answer began: the model used it for reasoning."""


class IncompleteAnswerError(UnusableAnswerError):
    """The answer is incomplete."""


class InvalidBodyError(Exception):
    """The response body is too large, or compressed although `Accept-Encoding` excludes that."""


@contextmanager
def translate_provider_errors(model: str, provider: str, sent: Mapping[str, Any]) -> Iterator[None]:
    """Translate the exceptions of an attempt to `ModelError`, and log them. `sent`: body of the request."""
    source = {"model": model, "provider": provider}
    try:
        yield
    except ProviderStatusError as error:
        delay = retry_after(error.headers, error.report)
        failure = classify(error.report, sent).to_model_error(retry_after=delay)
        raise _log_failure(source, failure, error, status=error.status) from error
    except (httpx2.HTTPError, aiohttp.ClientError, OSError) as error:
        code = "provider_timeout" if _is_caused_by(error, TimeoutError) else "provider_unreachable"
        failure = ModelError(code, retryable=True, may_have_used_tokens=not _is_caused_by(error, *_CONNECTION_ERRORS))
        raise _log_failure(source, failure, error) from error
    except UnusableAnswerError as error:
        raise _log_failure(source, _from_unusable_answer(error), error) from error
    except ReportedError as error:
        failure = classify(error.report, sent).to_model_error(may_have_used_tokens=True)
        raise _log_failure(source, failure, error, status=error.report.status) from error
    except (httpx2.StreamError, httpx2.InvalidURL, InvalidBodyError, ValueError, RecursionError) as error:
        failure = ModelError("provider_bad_response", retryable=True, may_have_used_tokens=True)
        raise _log_failure(source, failure, error) from error


def _is_caused_by(error: BaseException | None, *types: type[BaseException]) -> bool:
    # The transport raises a timeout error for most failures; only the cause tells them apart.
    while error is not None and not isinstance(error, types):
        error = error.__cause__
    return error is not None


def _from_unusable_answer(error: UnusableAnswerError) -> ModelError:
    if isinstance(error, ContentFilteredError):
        code = "provider_refused"
    elif isinstance(error, ReasoningExhaustedError):
        code = "reasoning_exhausted"
    else:
        code = "provider_bad_response"
    return ModelError(
        code,
        retryable=code == "provider_bad_response",
        is_model_fault=isinstance(error, IncompleteAnswerError),
        may_have_used_tokens=True,
        token_counts=error.token_counts,
    )


def _log_failure(
    source: dict[str, str], failure: ModelError, error: Exception, *, status: int | None = None
) -> ModelError:
    # The type of the exception, not its message, which may contain the prompt or the key.
    reason = type(_root_cause(error)).__name__
    logger.warning(
        "model attempt failed",
        extra={**source, "code": failure.code, "provider_status": status, "reason": reason},
    )
    return failure


def _root_cause(error: BaseException) -> BaseException:
    """Return the `OSError` at the root of the chain of causes, or else the error itself."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return next((cause for cause in reversed(causes) if isinstance(cause, OSError)), error)
