"""A scriptable engine: it speaks the dialect of a real one, and answers each question as the question asks for."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.provider import Behaviour, Call, Wire

TEXT = "The answer."
REASONING = "Let me think."
USAGE = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}

ANSWER = "answer"
TOO_LONG = "context too long"
RATE_LIMITED = "rate limit"
FILTERED = "content filter"
NO_BALANCE = "no balance"
WRONG_KEY = "wrong key"
CODES = {
    TOO_LONG: "prompt_too_long",
    RATE_LIMITED: "provider_rate_limited",
    FILTERED: "provider_refused",
    NO_BALANCE: "provider_quota_exceeded",
    WRONG_KEY: "provider_rejected",
}
"""Codes of the service for what an engine may be asked to do."""


@dataclass(frozen=True)
class Response:
    """Response of an engine: a document, or the events of a stream."""

    document: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    events: tuple[bytes, ...] | None = None
    """Events for a streamed request. None: the document for both."""
    prefix: bytes = b""
    """Bytes before the document."""


Check = Callable[[dict[str, Any]], Response | None]
"""Returns the refusal of a request. None: the engine accepts its parameters."""


@dataclass(frozen=True)
class Engine:
    """An engine with the entries that it needs in `LLM_PROVIDERS` and `LLM_MODELS`."""

    name: str
    path: str
    """Path of the base URL, and its query."""
    answer: Response
    errors: Mapping[str, Response]
    """Responses by what the question asks for."""
    check: Check = lambda _body: None
    provider: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    reasoning: str = ""
    """Reasoning in the answer."""
    adapted: Mapping[str, str | None] = field(default_factory=dict)
    """Parameters that the service adapts after a refusal."""

    @property
    def model_name(self) -> str:
        """Name of the model, for the service and the engine."""
        return f"model of {self.name}"

    @property
    def key(self) -> str:
        """Key that the engine accepts."""
        return f"sk-{self.name.lower().replace(' ', '-').replace(',', '')}"

    @property
    def provider_name(self) -> str:
        """Name in `LLM_PROVIDERS`."""
        return self.name.replace(" ", "-").replace(",", "")

    def behaviour(self) -> Behaviour:
        """Return the behaviour of the engine for every request to its model."""

        async def behave(call: Call, wire: Wire) -> None:
            response = self._respond(call)
            if call.stream and response.events is not None:
                await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
                for event in response.events:
                    await wire.chunk(event)
                await wire.chunk(b"")
            else:
                body = response.prefix + json.dumps(response.document).encode()
                await wire.respond(response.status, body, response.headers)

        return behave

    def _respond(self, call: Call) -> Response:
        header = str(self.provider.get("api_key_header", "Authorization")).lower()
        sent = call.headers.get(header, "").removeprefix("Bearer ")
        if sent != self.key or not call.path.startswith(self.path.partition("?")[0]):
            return self.errors[WRONG_KEY]
        if "?" in self.path and self.path.partition("?")[2] not in call.path:
            return Response({"error": {"code": "404", "message": "Resource not found"}}, 404)
        if (refusal := self.check(call.body)) is not None:
            return refusal
        question = call.messages[-1]["content"].rpartition("\n")[2]
        return self.errors.get(question, self.answer)


def event(document: object) -> bytes:
    """Return an event of a stream."""
    return b"data: " + json.dumps(document).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def completion(message: Mapping[str, Any], finish_reason: object = "stop", **fields: object) -> dict[str, Any]:
    """Return a whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | fields


def chunk(delta: Mapping[str, Any] | None, finish_reason: object = None, **fields: object) -> bytes:
    """Return one event of an answer; without a delta, one without choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    document = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return event(document | fields)


def error(http_status: int, headers: Mapping[str, str] | None = None, **fields: object) -> Response:
    """Return a response with an error object."""
    return Response({"error": fields}, http_status, headers or {})


def refuse_parameters(names: Iterable[str], refusal: Callable[[str], Response]) -> Check:
    """Return a check that refuses the first of these parameters that a request has."""

    def check(body: dict[str, Any]) -> Response | None:
        return next((refusal(name) for name in names if name in body), None)

    return check
