"""Client of OpenAI's chat completions API, which many other engines implement."""

import asyncio
import logging
import math
from collections.abc import AsyncIterable
from typing import Annotated, Any, Literal, Self, cast

import httpx2
import openai
from openai import AsyncOpenAI
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from app.config import Settings
from app.core.exceptions import StartupError
from app.graph.ports.chat_model import Completion, ModelRequest, PublishText, StreamTimeouts
from app.graph.tokens import estimate_tokens
from app.services.llm.errors import (
    ContentFilteredError,
    EmptyAnswerError,
    IncompleteAnswerError,
    InvalidBodyError,
    ProviderStatusError,
    translate_provider_errors,
)
from app.services.llm.sse_parser import FinishReason, LenientUsage, StreamedAnswer, parse_json, remove_unstorable

logger = logging.getLogger(__name__)

_CONTENT_FILTERED = {"content_filter", "safety", "SAFETY"}
"""Finish reasons of an answer that a content filter stopped."""
_INCOMPLETE = {"error", "abort", "tool_calls", "function_call", "insufficient_system_resource"}
"""Finish reasons of an answer that is incomplete or not text."""
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Maximum size of a response body."""
_RESCHEDULE_THRESHOLD = 0.05
"""Fraction of the idle timeout by which it may expire early."""
_LARGE_CHUNK_BYTES = 4096
"""Size of a chunk from which other tasks run after it: the provider is faster than this process."""
_TRAILER_TIMEOUT = 0.2
"""Timeout in seconds of the rest of a body after the end of the stream."""
_CONNECT_TIMEOUT = 5.0
"""Timeout of a connection in seconds: short, so that there is time left for the next model."""


class OpenAIChatModel:
    """`ChatModel` for the OpenAI API. It makes single attempts; the graph retries."""

    def __init__(
        self,
        client: AsyncOpenAI,
        http: httpx2.AsyncClient,
        *,
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"],
    ) -> None:
        """Take ownership of both clients; `close()` closes them.

        `max_tokens_field` is the engine's name of the maximum number of tokens of an answer.
        """
        self._client = client
        self._http = http
        self._max_tokens_field = max_tokens_field
        # Computed once: the client's own methods do so for each request, which takes twice the CPU time of the request.
        # See ADR 24.
        self._url = client.base_url.join("chat/completions")
        headers = {**client.default_headers, **client.auth_headers}
        self._headers = httpx2.Headers({name: value for name, value in headers.items() if isinstance(value, str)})
        self._timeouts = httpx2.Timeout(None, connect=_CONNECT_TIMEOUT).as_dict()

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return a client for the provider of a deployment.

        Raises:
            StartupError: there is neither an API key nor a base URL.

        """
        if settings.OPENAI_API_KEY is None and settings.OPENAI_BASE_URL is None:
            raise StartupError("configuration: OPENAI_API_KEY: is required (or OPENAI_BASE_URL, for another engine)")
        # Self-hosted engines often accept any key, but the client requires one.
        key = settings.OPENAI_API_KEY.get_secret_value() if settings.OPENAI_API_KEY else "unused"
        http = openai.DefaultAioHttpClient(
            # Each stream occupies a connection until it ends.
            limits=httpx2.Limits(max_connections=10_000, keepalive_expiry=15),
            # A redirect would send the conversation to another host.
            follow_redirects=False,
        )
        client = AsyncOpenAI(
            api_key=key,
            base_url=settings.OPENAI_BASE_URL or "https://api.openai.com/v1",
            http_client=http,
            default_headers={"Accept-Encoding": "identity"},
        )
        # OpenAI's newer models reject the old name of this field, and other engines may not support the new one.
        return cls(client, http, max_tokens_field="max_tokens" if settings.OPENAI_BASE_URL else "max_completion_tokens")

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        """Make one attempt; see `ChatModel`."""
        with translate_provider_errors(request.model):
            async with asyncio.timeout(max_seconds):
                body = await _read_body(await self._send(self._body(request)))
            return _completion(request, parse_json(body))

    async def stream(self, request: ModelRequest, publish: PublishText, *, timeouts: StreamTimeouts) -> Completion:
        """Make one streamed attempt; see `ChatModel`."""
        body = self._body(request) | {"stream": True, "stream_options": {"include_usage": True}}
        answer = StreamedAnswer()
        with translate_provider_errors(request.model):
            try:
                # A separate task, because each piece of text would wake up every coroutine that awaits it here.
                await asyncio.create_task(self._read(body, answer, publish, timeouts))
            except Exception:
                if answer.finish_reason is None:
                    raise
                # The answer is complete; only the token counts after it may be missing.
            return _streamed_completion(request, answer)

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        body: dict[str, Any] = {"model": request.model, "messages": list(request.messages)}
        body |= request.parameters.without_none()
        if (max_tokens := body.pop("max_tokens", None)) is not None:
            body[self._max_tokens_field] = max_tokens
        return body

    async def _send(self, body: object) -> httpx2.Response:
        """Send a request. Return the response, whose body has not been read. Only the connection has a timeout.

        Raises:
            ProviderStatusError: the status is not 2xx.
            InvalidBodyError: the body is compressed, or that of an error is too large.

        """
        request = httpx2.Request(
            "POST", self._url, headers=self._headers, content=to_json(body), extensions={"timeout": self._timeouts}
        )
        response = await self._http.send(request, stream=True)
        # Compressed, a few kilobytes could become gigabytes.
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise InvalidBodyError
        if not response.is_success:
            raise ProviderStatusError(response.status_code, response.headers, await _read_body(response))
        return response

    async def _read(self, body: object, answer: StreamedAnswer, publish: PublishText, timeouts: StreamTimeouts) -> None:
        """Send a request, parse the stream into `answer`, and publish its text."""
        now = asyncio.get_running_loop().time
        deadline = now() + timeouts.total
        rescheduled_at = -math.inf
        async with asyncio.timeout(timeouts.first_token) as limit:
            # Raw bytes: the events of the client library take three times the CPU time of everything else here.
            response = await self._send(body)
            received, is_ending = 0, False
            try:
                async for data in _chunks(response):
                    received += len(data)
                    if received > MAX_BODY_BYTES:
                        raise InvalidBodyError
                    for line in answer.lines(data):
                        if text := answer.feed(line):
                            publish(text)
                            received_at = now()
                            # Rescheduling for each text would take more time than the text.
                            if received_at - rescheduled_at > timeouts.idle * _RESCHEDULE_THRESHOLD:
                                rescheduled_at = received_at
                                limit.reschedule(min(deadline, received_at + timeouts.idle))
                        elif answer.is_over and not is_ending:
                            # Read the rest of the body, so that the connection can be reused.
                            is_ending = True
                            limit.reschedule(now() + _TRAILER_TIMEOUT)
                    if len(data) > _LARGE_CHUNK_BYTES:
                        await asyncio.sleep(0)  # let other tasks run
            finally:
                await response.aclose()

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()


def _chunks(response: httpx2.Response) -> AsyncIterable[bytes]:
    # Not `aiter_raw()`, whose generators take CPU time for each token. Callers limit the size and close the response.
    return cast("AsyncIterable[bytes]", response.stream)


async def _read_body(response: httpx2.Response) -> bytes:
    """Return the whole body, and close the response.

    Raises:
        InvalidBodyError: the body is larger than `MAX_BODY_BYTES`.

    """
    body = bytearray()
    try:
        async for data in _chunks(response):
            body += data
            if len(body) > MAX_BODY_BYTES:
                raise InvalidBodyError
    finally:
        await response.aclose()
    return bytes(body)


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message
    finish_reason: FinishReason


class _ChatCompletion(BaseModel):
    """The part of a provider's response that is used."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: str | None = None
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: LenientUsage = None


def _completion(request: ModelRequest, response: object) -> Completion:
    parsed = _ChatCompletion.model_validate(response)
    choice = parsed.choices[0]
    text = remove_unstorable(choice.message.content)
    return _to_completion(request, text, choice.finish_reason, parsed, is_repaired=text != choice.message.content)


def _streamed_completion(request: ModelRequest, answer: StreamedAnswer) -> Completion:
    if answer.finish_reason is None:
        raise ValueError("the stream ended before the answer")
    return _to_completion(request, answer.text, answer.finish_reason, answer, is_repaired=answer.is_repaired)


def _to_completion(
    request: ModelRequest,
    text: str,
    finish_reason: str,
    answer: _ChatCompletion | StreamedAnswer,
    *,
    is_repaired: bool,
) -> Completion:
    if finish_reason in _CONTENT_FILTERED:
        raise ContentFilteredError(answer.usage)
    if finish_reason in _INCOMPLETE:
        raise IncompleteAnswerError(answer.usage)
    if not text.strip():
        raise EmptyAnswerError(answer.usage)
    return Completion(
        text=text,
        model=remove_unstorable(answer.model or request.model)[:200],
        finish_reason=finish_reason,
        token_counts=answer.usage.token_counts if answer.usage else estimate_tokens(request.messages, text),
        is_repaired=is_repaired,
    )
