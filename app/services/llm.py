"""The adapter to OpenAI and to every engine that speaks its protocol."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Self

import httpx2
import openai
from openai import AsyncOpenAI
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from app.config import Settings
from app.core.exceptions import StartupError
from app.graph.context import Completion, ModelError, PromptMessage

logger = logging.getLogger(__name__)

_RETRYABLE_STATUSES = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS}
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Most of a provider's answer that is read; longer ones are refused."""
_CHARACTERS_PER_TOKEN = 4
"""Rule of thumb of the providers for English text; used only where a provider counts nothing, and marked so."""


class OpenAIChatModel:
    """`ChatModel` over the `openai` client. It makes single attempts: the graph decides about more."""

    def __init__(self, client: AsyncOpenAI, parameters: Mapping[str, object]) -> None:
        """Take over the client, which must not retry by itself; `close()` ends it.

        `parameters` go with every request as they are.
        """
        self._client = client
        self._parameters = parameters

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Make the client.

        Raises:
            StartupError: there is neither a key nor a base URL.

        """
        if settings.OPENAI_API_KEY is None and settings.OPENAI_BASE_URL is None:
            raise StartupError("configuration: OPENAI_API_KEY: is required (or OPENAI_BASE_URL, for another engine)")
        # An engine of one's own often takes any key, but the client insists on one.
        key = settings.OPENAI_API_KEY.get_secret_value() if settings.OPENAI_API_KEY else "unused"
        client = AsyncOpenAI(
            api_key=key,
            base_url=settings.OPENAI_BASE_URL or "https://api.openai.com/v1",
            max_retries=0,
            timeout=settings.LLM_ATTEMPT_TIMEOUT,
            http_client=openai.DefaultAsyncHttpxClient(
                # A redirect would take the conversation to whoever the provider names.
                follow_redirects=False,
                headers={"Accept-Encoding": "identity"},
                event_hooks={"response": [_bound_body]},
            ),
        )
        # OpenAI's newer models refuse the old name of the limit, other engines may not know the new one.
        limit = "max_tokens" if settings.OPENAI_BASE_URL else "max_completion_tokens"
        return cls(client, {limit: settings.LLM_MAX_TOKENS, "temperature": settings.LLM_TEMPERATURE})

    async def complete(self, model: str, messages: Sequence[PromptMessage], *, max_seconds: float) -> Completion:
        """Make one attempt; see `ChatModel`."""
        body = {"model": model, "messages": list(messages), **self._parameters}
        try:
            async with asyncio.timeout(max_seconds):
                # The low-level call sends the body as it is: `chat.completions.create` spends milliseconds of CPU
                # on walking every message.
                response = await self._client.post("/chat/completions", body=body, cast_to=object)
        except (TimeoutError, openai.APITimeoutError) as error:
            raise _failed(model, "provider_timeout", error, retryable=True) from error
        except openai.APIStatusError as error:
            raise _refused(model, error) from error
        except openai.APIConnectionError as error:
            raise _failed(model, "provider_unreachable", error, retryable=True) from error
        except (openai.OpenAIError, _UnfitBodyError, ValueError, RecursionError) as error:
            raise _failed(model, "provider_bad_response", error, retryable=True) from error
        return _completion(model, messages, response)

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()


class _UnfitBodyError(Exception):
    """The provider's body is compressed although that was declined, or too large."""


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > MAX_BODY_BYTES:
                raise _UnfitBodyError
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound_body(response: httpx2.Response) -> None:
    # Compressed, a few kilobytes could become gigabytes.
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _UnfitBodyError
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _BoundedStream(response.stream)


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message
    finish_reason: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,50}$")]


TokenCount = Annotated[int, Field(ge=0, le=1_000_000_000)]


class _Usage(BaseModel):
    prompt_tokens: TokenCount
    completion_tokens: TokenCount


def _none_if_odd(value: object, validate: ValidatorFunctionWrapHandler) -> _Usage | None:
    try:
        usage: _Usage | None = validate(value)
    except ValidationError:
        return None  # a good answer with an odd count is a good answer: the count is estimated
    return usage


class _ChatCompletion(BaseModel):
    """What is read of the provider's answer. Anything else in it may change without notice."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: str | None = None
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: Annotated[_Usage | None, WrapValidator(_none_if_odd)] = None


def _completion(model: str, messages: Sequence[PromptMessage], response: object) -> Completion:
    try:
        parsed = _ChatCompletion.model_validate(response)
    except ValidationError as error:
        raise _failed(model, "provider_bad_response", error, retryable=True) from error
    choice = parsed.choices[0]
    text = _storable(choice.message.content)
    if not text.strip():
        raise ModelError(code="provider_bad_response", retryable=True)
    usage = parsed.usage or _Usage(
        prompt_tokens=math.ceil(sum(len(message["content"]) for message in messages) / _CHARACTERS_PER_TOKEN),
        completion_tokens=math.ceil(len(text) / _CHARACTERS_PER_TOKEN),
    )
    return Completion(
        text=text,
        model=_storable(parsed.model or model)[:200],
        finish_reason=choice.finish_reason,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        is_estimated=parsed.usage is None,
    )


def _storable(text: str) -> str:
    # PostgreSQL's text cannot hold NUL, and UTF-8 cannot hold a lone surrogate.
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _refused(model: str, error: openai.APIStatusError) -> ModelError:
    status = error.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        code = "provider_rate_limited"
    elif status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        code = "provider_error"
    else:
        code = "provider_rejected"
    retryable = status in _RETRYABLE_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _failed(
        model, code, error, retryable=retryable, status=status, retry_after=_retry_after(error.response.headers)
    )


def _failed(
    model: str,
    code: str,
    error: Exception,
    *,
    retryable: bool,
    status: int | None = None,
    retry_after: float | None = None,
) -> ModelError:
    # The kind of the exception, not its text: a provider may repeat the prompt or the key in it.
    logger.warning(
        "model attempt failed",
        extra={"model": model, "code": code, "provider_status": status, "reason": type(error).__name__},
    )
    return ModelError(code, retryable=retryable, retry_after=retry_after)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None  # absent, or a date: the backoff serves as well
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
