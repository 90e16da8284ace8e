"""The adapter to OpenAI and to every engine that speaks its protocol."""

import asyncio
import logging
import math
from collections.abc import AsyncIterable, AsyncIterator
from typing import Annotated, Any, Literal, Self, cast

import httpx2
import openai
from openai import AsyncOpenAI
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from app.config import Settings
from app.core.exceptions import StartupError
from app.graph.context import Completion, ModelRequest, Patience, Publish
from app.graph.tokens import estimate_tokens
from app.services.llm_faults import BlankError, BrokenOffError, RefusedError, UnfitBodyError, WithheldError, one_error
from app.services.llm_stream import (
    FinishReason,
    LenientUsage,
    StreamedAnswer,
    parse,
    storable,
)

logger = logging.getLogger(__name__)

_WITHHELD = {"content_filter", "safety", "SAFETY"}
"""Finish reasons of an answer that the provider cut off for what it says."""
_BROKEN_OFF = {"error", "abort", "tool_calls", "function_call", "insufficient_system_resource"}
"""Finish reasons of what is no whole answer in words."""
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Most of a provider's answer that is read; longer ones are refused."""
_LIMIT_SLACK = 0.05
"""So much of a pause may be missing when a stream is given up for its silence."""
_MUCH_AT_ONCE = 4096
"""Bytes of a stream that came together, as they do where a provider is faster than we are."""
_FAREWELL = 0.2
"""Seconds for the end of a body after the end of the answer in it."""
_CONNECT_SECONDS = 5.0
"""Until there is a connection. What does not connect in that time is rather asked of the next model."""


class OpenAIChatModel:
    """`ChatModel` over the protocol of OpenAI. It makes single attempts: the graph decides about more."""

    def __init__(
        self, client: AsyncOpenAI, http: httpx2.AsyncClient, *, limit: Literal["max_tokens", "max_completion_tokens"]
    ) -> None:
        """Take over the client and what it sends through; `close()` ends both.

        `limit` is what the engine calls the most tokens of an answer.
        """
        self._client = client
        self._http = http
        self._limit = limit
        # The client says how to speak to its provider, once: it would work that out anew for each request, which takes
        # twice the CPU of the request. See ADR 24.
        self._url = client.base_url.join("chat/completions")
        given = {**client.default_headers, **client.auth_headers}
        self._headers = httpx2.Headers({name: value for name, value in given.items() if isinstance(value, str)})
        self._time_limits = httpx2.Timeout(None, connect=_CONNECT_SECONDS).as_dict()

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
        http = openai.DefaultAioHttpClient(
            # Every stream holds a connection for as long as it lasts.
            limits=httpx2.Limits(max_connections=10_000, keepalive_expiry=15),
            # A redirect would take the conversation to whoever the provider names.
            follow_redirects=False,
            event_hooks={"response": [_bound_body]},
        )
        client = AsyncOpenAI(
            api_key=key,
            base_url=settings.OPENAI_BASE_URL or "https://api.openai.com/v1",
            http_client=http,
            default_headers={"Accept-Encoding": "identity"},
        )
        # OpenAI's newer models refuse the old name of the limit, other engines may not know the new one.
        return cls(client, http, limit="max_tokens" if settings.OPENAI_BASE_URL else "max_completion_tokens")

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        """Make one attempt; see `ChatModel`."""
        with one_error(request.model):
            async with asyncio.timeout(max_seconds):
                response = await self._send(self._body(request))
            return _completion(request, parse(response.content))

    async def stream(self, request: ModelRequest, publish: Publish, *, patience: Patience) -> Completion:
        """Make one streamed attempt; see `ChatModel`."""
        body = self._body(request) | {"stream": True, "stream_options": {"include_usage": True}}
        answer = StreamedAnswer()
        with one_error(request.model):
            try:
                # A task of its own: whatever awaits a piece of text is woken with it, down to the bottom of the graph.
                await asyncio.create_task(self._read(body, answer, publish, patience))
            except Exception:
                if answer.finish_reason is None:
                    raise
                # It was whole when the connection broke: only the count of its tokens is missing.
            return _streamed_completion(request, answer)

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        body: dict[str, Any] = {"model": request.model, "messages": list(request.messages)}
        body |= request.parameters.given()
        if (most_tokens := body.pop("max_tokens", None)) is not None:
            body[self._limit] = most_tokens
        return body

    async def _send(self, body: object, *, is_streamed: bool = False) -> httpx2.Response:
        """Return the response, to a request that succeeded. Its time is the caller's to limit, but for connecting."""
        request = httpx2.Request(
            "POST", self._url, headers=self._headers, content=to_json(body), extensions={"timeout": self._time_limits}
        )
        response = await self._http.send(request, stream=is_streamed)
        if not response.is_success:
            try:
                raise RefusedError(response.status_code, response.headers, await response.aread())
            finally:
                await response.aclose()
        return response

    async def _read(self, body: object, answer: StreamedAnswer, publish: Publish, patience: Patience) -> None:
        now = asyncio.get_running_loop().time
        give_up = now() + patience.total
        moved_at = -math.inf
        async with asyncio.timeout(patience.first) as limit:
            # Raw lines: the client's own events take three times the CPU of everything else here.
            response = await self._send(body, is_streamed=True)
            received, is_ending = 0, False
            try:
                async for data in _unbounded(response):
                    received += len(data)
                    if received > MAX_BODY_BYTES:
                        raise UnfitBodyError
                    for line in answer.lines(data):
                        if text := answer.feed(line):
                            publish(text)
                            came_at = now()
                            # Moved for every text, the limit would cost more than the text.
                            if came_at - moved_at > patience.pause * _LIMIT_SLACK:
                                moved_at = came_at
                                limit.reschedule(min(give_up, came_at + patience.pause))
                        elif answer.is_over and not is_ending:
                            # What is left is the end of the body: read, the connection serves again.
                            is_ending = True
                            limit.reschedule(now() + _FAREWELL)
                    if len(data) > _MUCH_AT_ONCE:
                        await asyncio.sleep(0)  # others get their turn
            finally:
                await response.aclose()

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self.unbounded = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self.unbounded:
            received += len(chunk)
            if received > MAX_BODY_BYTES:
                raise UnfitBodyError
            yield chunk

    async def aclose(self) -> None:
        await self.unbounded.aclose()


def _unbounded(response: httpx2.Response) -> AsyncIterable[bytes]:
    """Return what is left of a body, to be counted by the caller: the generator that counts takes its time a token."""
    stream = response.stream
    return stream.unbounded if isinstance(stream, _BoundedStream) else cast("AsyncIterable[bytes]", stream)


async def _bound_body(response: httpx2.Response) -> None:
    # Compressed, a few kilobytes could become gigabytes.
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UnfitBodyError
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _BoundedStream(response.stream)


class _Message(BaseModel):
    content: str


class _Choice(BaseModel):
    message: _Message
    finish_reason: FinishReason


class _ChatCompletion(BaseModel):
    """What is read of the provider's answer. Anything else in it may change without notice."""

    model_config = ConfigDict(hide_input_in_errors=True)

    model: str | None = None
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: LenientUsage = None


def _completion(request: ModelRequest, response: object) -> Completion:
    parsed = _ChatCompletion.model_validate(response)
    choice = parsed.choices[0]
    text = storable(choice.message.content)
    return _whole(request, text, choice.finish_reason, parsed, is_repaired=text != choice.message.content)


def _streamed_completion(request: ModelRequest, answer: StreamedAnswer) -> Completion:
    if answer.finish_reason is None:
        raise ValueError("the stream ended before the answer did")
    return _whole(request, answer.text, answer.finish_reason, answer, is_repaired=answer.is_repaired)


def _whole(
    request: ModelRequest,
    text: str,
    finish_reason: str,
    answer: _ChatCompletion | StreamedAnswer,
    *,
    is_repaired: bool,
) -> Completion:
    if finish_reason in _WITHHELD:
        raise WithheldError(answer.usage)
    if finish_reason in _BROKEN_OFF:
        raise BrokenOffError(answer.usage)
    if not text.strip():
        raise BlankError(answer.usage)
    return Completion(
        text=text,
        model=storable(answer.model or request.model)[:200],
        finish_reason=finish_reason,
        spent=answer.usage.spent if answer.usage else estimate_tokens(request.messages, text),
        is_repaired=is_repaired,
    )
