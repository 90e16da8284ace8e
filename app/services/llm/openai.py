"""Client of OpenAI's chat completions API, which many other engines implement."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Self, cast

import httpx2
import openai
from openai import AsyncOpenAI
from pydantic_core import to_json

from app.config import DEFAULT_PROVIDER, ModelSetting, Provider
from app.graph.ports.chat_model import Completion, ModelRequest, PublishText, StreamTimeouts
from app.graph.ports.tool_calls import PublishToolCalls
from app.observability import tracing
from app.services.llm.completion import to_completion
from app.services.llm.documents import parse_json
from app.services.llm.errors import InvalidBodyError, ProviderStatusError, translate_provider_errors
from app.services.llm.event_parser import EventParser
from app.services.llm.model_profile import ModelProfile
from app.services.llm.parameter_changes import MAX_CHANGES, ParameterChanges, apply_changes, next_changes
from app.services.llm.received_answer import ReceivedAnswer
from app.services.llm.response_body import MAX_BODY_BYTES, chunks, is_document, is_event_stream, read_body
from app.services.llm.stream_deadline import StreamDeadline

logger = logging.getLogger(__name__)

_LARGE_CHUNK_BYTES = 4096
"""Size of a chunk from which other tasks run after it: the provider is faster than this process."""
_PARSED_BYTES = 65_536
"""Size of the parts of a received event stream after which other tasks run."""
_OF_THE_DEFAULT_PROVIDER = frozenset({"authorization", "openai-organization", "openai-project"})
"""Headers of the client library that other providers must not get."""
_CONNECT_TIMEOUT = 5.0
"""Timeout of a connection in seconds: short, so that there is time left for the next model."""


class OpenAIChatModel:
    """`ChatModel` for the models of one provider with OpenAI's API. It makes single attempts; the graph retries."""

    def __init__(
        self,
        provider: Provider,
        client: AsyncOpenAI,
        http: httpx2.AsyncClient,
        *,
        models: Mapping[str, ModelSetting],
    ) -> None:
        """Take ownership of both clients; `close()` closes them. `models`: those that differ from the defaults."""
        self.provider = provider
        self._client = client
        self._http = http
        self._profiles = {name: ModelProfile.from_setting(setting, provider) for name, setting in models.items()}
        self.parameter_changes = ParameterChanges(provider.name)
        # Computed once: the client's own methods do so for each request, which takes twice the CPU time of the request.
        # See ADR 24.
        self._url = client.base_url.join("chat/completions").copy_merge_params(
            cast("dict[str, str]", client.default_query)
        )
        self._headers = _headers(provider, client)
        connect_timeout = provider.connect_timeout or _CONNECT_TIMEOUT
        self._timeouts = httpx2.Timeout(None, connect=connect_timeout).as_dict()

    @classmethod
    def open(cls, provider: Provider, models: Mapping[str, ModelSetting] | None = None) -> Self:
        """Return a client for a provider. `models`: those that differ from the defaults, by name."""
        base_url = httpx2.URL(provider.base_url)
        http = openai.DefaultAioHttpClient(
            # Each stream occupies a connection until it ends.
            limits=httpx2.Limits(max_connections=10_000, keepalive_expiry=15),
            # A redirect would send the conversation to another host.
            follow_redirects=False,
        )
        client = AsyncOpenAI(
            # Self-hosted engines often accept any key, but the client requires one.
            api_key=provider.api_key.get_secret_value() if provider.api_key else "unused",
            base_url=base_url.copy_with(query=None),
            default_query=dict(base_url.params),
            http_client=http,
            default_headers={"Accept-Encoding": "identity"},
        )
        return cls(provider, client, http, models=models or {})

    def profile(self, model: str) -> ModelProfile:
        """Return the profile of a model."""
        profile = self._profiles.get(model)
        return profile or ModelProfile.from_setting(ModelSetting.model_construct(name=model), self.provider)

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        """Make one attempt; see `ChatModel`."""
        profile = self.profile(request.model)
        body = profile.body(request)
        with _attempt_span(request), translate_provider_errors(request.model, self.provider.name, body):
            async with asyncio.timeout(max_seconds):
                response = await self._send(body)
                received = await read_body(response)
            answer = ReceivedAnswer(starts_with_reasoning=profile.starts_with_reasoning)
            if is_event_stream(response):  # some engines stream always
                await _take_events(received, answer)
            else:
                answer.take_document(parse_json(received))
            return to_completion(request, answer)

    async def stream(
        self,
        request: ModelRequest,
        publish: PublishText,
        *,
        timeouts: StreamTimeouts,
        publish_reasoning: PublishText | None = None,
        publish_tool_calls: PublishToolCalls | None = None,
    ) -> Completion:
        """Make one streamed attempt; see `ChatModel`."""
        profile = self.profile(request.model)
        body = profile.body(request, is_streamed=True)
        answer = ReceivedAnswer(
            publish_reasoning,
            publish_tool_calls if request.offers_tools else None,
            starts_with_reasoning=profile.starts_with_reasoning,
        )
        with _attempt_span(request), translate_provider_errors(request.model, self.provider.name, body):
            try:
                # A separate task, because each piece of text would wake up every coroutine that awaits it here.
                await asyncio.create_task(self._read(body, answer, publish, timeouts))
            except Exception:
                if answer.finish_reason is None:
                    raise
                # The answer is complete; only the token counts after it may be missing.
            return to_completion(request, answer)

    async def _send(self, body: dict[str, Any]) -> httpx2.Response:
        """Send a request; if a parameter is refused, without it or with its other name. Return as `_send_once`."""
        model = str(body["model"])
        known = changes = self.parameter_changes.current(model)
        for _number in range(MAX_CHANGES):
            try:
                response = await self._send_once(apply_changes(changes, body))
                break
            except ProviderStatusError as error:
                following = next_changes(changes, body, error.report)
                if following is None:
                    raise
                changes = following
        else:
            response = await self._send_once(apply_changes(changes, body))
        if changes is not known:
            self.parameter_changes.remember(model, known, changes)
        return response

    async def _send_once(self, body: object) -> httpx2.Response:
        """Send a request. Return the response, whose body has not been read. Only the connection has a timeout.

        Raises:
            ProviderStatusError: the status is not 2xx.
            InvalidBodyError: the body is compressed, or that of an error is too large.

        """
        headers = self._headers
        if tracing.is_active():
            headers = headers.copy()
            tracing.inject(headers)
        request = httpx2.Request(
            "POST", self._url, headers=headers, content=to_json(body), extensions={"timeout": self._timeouts}
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


def _attempt_span(request: ModelRequest) -> AbstractContextManager[object]:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": request.model}
    return tracing.span(f"chat {request.model}", attributes, kind="client")


async def _take_events(received: bytes, answer: ReceivedAnswer) -> None:
    parser = EventParser()
    for start in range(0, len(received), _PARSED_BYTES):
        for event in parser.feed(received[start : start + _PARSED_BYTES]):
            answer.feed(event)
        await asyncio.sleep(0)  # let other tasks run
    for event in parser.close():
        answer.feed(event)
    answer.end()


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


def _headers(provider: Provider, client: AsyncOpenAI) -> httpx2.Headers:
    """Return the headers of all requests. The client would send the key as a bearer token only."""
    # From OPENAI_ORG_ID and OPENAI_PROJECT_ID, which concern the default provider.
    left_out = {"authorization"} if provider.name == DEFAULT_PROVIDER else _OF_THE_DEFAULT_PROVIDER
    headers = httpx2.Headers(
        {
            name: value
            for name, value in client.default_headers.items()
            if isinstance(value, str) and name.lower() not in left_out
        }
    )
    if provider.api_key_header.lower() == "authorization":
        headers.update(client.auth_headers)
    elif provider.api_key is not None:
        headers[provider.api_key_header] = provider.api_key.get_secret_value()
    headers.update({name: value.get_secret_value() for name, value in provider.headers.items()})
    return headers
