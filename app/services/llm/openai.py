"""Client of OpenAI's chat completions API, which many other engines implement."""

import asyncio
import logging
from typing import Any, Literal, Self, cast

import httpx2
import openai
from openai import AsyncOpenAI
from pydantic_core import to_json

from app.config import LlmSettings
from app.core.exceptions import StartupError
from app.graph.ports.chat_model import Completion, ModelRequest, PublishText, StreamTimeouts
from app.services.llm.completion import to_completion
from app.services.llm.documents import parse_json
from app.services.llm.errors import InvalidBodyError, ProviderStatusError, translate_provider_errors
from app.services.llm.event_parser import EventParser
from app.services.llm.parameter_changes import MAX_CHANGES, ParameterChanges
from app.services.llm.received_answer import ReceivedAnswer
from app.services.llm.response_body import MAX_BODY_BYTES, chunks, is_document, is_event_stream, read_body
from app.services.llm.stream_deadline import StreamDeadline

logger = logging.getLogger(__name__)

_LARGE_CHUNK_BYTES = 4096
"""Size of a chunk from which other tasks run after it: the provider is faster than this process."""
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
        self.parameter_changes = ParameterChanges()
        # Computed once: the client's own methods do so for each request, which takes twice the CPU time of the request.
        # See ADR 24.
        self._url = client.base_url.join("chat/completions").copy_merge_params(
            cast("dict[str, str]", client.default_query)
        )
        headers = {**client.default_headers, **client.auth_headers}
        self._headers = httpx2.Headers({name: value for name, value in headers.items() if isinstance(value, str)})
        self._timeouts = httpx2.Timeout(None, connect=_CONNECT_TIMEOUT).as_dict()

    @classmethod
    def from_settings(cls, settings: LlmSettings) -> Self:
        """Return a client for the provider of a deployment.

        Raises:
            StartupError: there is neither an API key nor a base URL.

        """
        if settings.OPENAI_API_KEY is None and settings.OPENAI_BASE_URL is None:
            raise StartupError("configuration: OPENAI_API_KEY: is required (or OPENAI_BASE_URL, for another engine)")
        # Self-hosted engines often accept any key, but the client requires one.
        key = settings.OPENAI_API_KEY.get_secret_value() if settings.OPENAI_API_KEY else "unused"
        base_url = httpx2.URL(settings.OPENAI_BASE_URL or "https://api.openai.com/v1")
        http = openai.DefaultAioHttpClient(
            # Each stream occupies a connection until it ends.
            limits=httpx2.Limits(max_connections=10_000, keepalive_expiry=15),
            # A redirect would send the conversation to another host.
            follow_redirects=False,
        )
        client = AsyncOpenAI(
            api_key=key,
            base_url=base_url.copy_with(query=None),
            default_query=dict(base_url.params),
            http_client=http,
            default_headers={"Accept-Encoding": "identity"},
        )
        # OpenAI's newer models reject the old name of this field, and other engines may not support the new one.
        return cls(client, http, max_tokens_field="max_tokens" if settings.OPENAI_BASE_URL else "max_completion_tokens")

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        """Make one attempt; see `ChatModel`."""
        with translate_provider_errors(request.model):
            async with asyncio.timeout(max_seconds):
                response = await self._send(self._body(request))
                body = await read_body(response)
            answer = ReceivedAnswer()
            if is_event_stream(response):  # some engines stream always
                parser = EventParser()
                for event in (*parser.feed(body), *parser.close()):
                    answer.feed(event)
                answer.end()
            else:
                answer.take_document(parse_json(body))
            return to_completion(request, answer)

    async def stream(
        self,
        request: ModelRequest,
        publish: PublishText,
        *,
        timeouts: StreamTimeouts,
        publish_reasoning: PublishText | None = None,
    ) -> Completion:
        """Make one streamed attempt; see `ChatModel`."""
        body = self._body(request) | {"stream": True, "stream_options": {"include_usage": True}}
        answer = ReceivedAnswer(publish_reasoning)
        with translate_provider_errors(request.model):
            try:
                # A separate task, because each piece of text would wake up every coroutine that awaits it here.
                await asyncio.create_task(self._read(body, answer, publish, timeouts))
            except Exception:
                if answer.finish_reason is None:
                    raise
                # The answer is complete; only the token counts after it may be missing.
            return to_completion(request, answer)

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        body: dict[str, Any] = {"model": request.model, "messages": list(request.messages)}
        body |= request.parameters.without_none()
        if (max_tokens := body.pop("max_tokens", None)) is not None:
            body[self._max_tokens_field] = max_tokens
        return body

    async def _send(self, body: dict[str, Any]) -> httpx2.Response:
        """Send a request; if a parameter is refused, without it or with its other name. Return as `_send_once`."""
        model = str(body["model"])
        for _number in range(MAX_CHANGES):
            sent = self.parameter_changes.apply(model, body)
            try:
                return await self._send_once(sent)
            except ProviderStatusError as error:
                if not self.parameter_changes.learn(model, sent, error.report):
                    raise
        return await self._send_once(self.parameter_changes.apply(model, body))

    async def _send_once(self, body: object) -> httpx2.Response:
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
            raise ProviderStatusError(response.status_code, response.headers, await read_body(response))
        return response

    async def _read(
        self, body: dict[str, Any], answer: ReceivedAnswer, publish: PublishText, timeouts: StreamTimeouts
    ) -> None:
        """Send a request, parse the stream into `answer`, and publish its text."""
        async with asyncio.timeout(timeouts.first_token) as limit:
            deadline = StreamDeadline(limit, timeouts)
            # Raw bytes: the events of the client library take three times the CPU time of everything else here.
            response = await self._send(body)
            if is_document(response):
                publish(answer.take_document(parse_json(await read_body(response))))
                return
            try:
                await _read_events(response, answer, publish, deadline)
            finally:
                await response.aclose()

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()


async def _read_events(
    response: httpx2.Response, answer: ReceivedAnswer, publish: PublishText, deadline: StreamDeadline
) -> None:
    parser, received, comments = EventParser(), 0, 0
    async for data in chunks(response):
        received += len(data)
        if received > MAX_BODY_BYTES:
            raise InvalidBodyError
        for event in parser.feed(data):
            if text := answer.feed(event):
                publish(text)
                deadline.text_received()
        if parser.comments > comments:
            comments = parser.comments
            answer.comment_received()
        deadline.data_received(answer.signs_of_life, is_over=answer.is_over)
        if len(data) > _LARGE_CHUNK_BYTES:
            await asyncio.sleep(0)  # let other tasks run
    for event in parser.close():
        if text := answer.feed(event):
            publish(text)
    if text := answer.end():
        publish(text)
