"""Faults and unusual answers of providers. `docs/reference/provider-faults.md` lists their outcomes."""

import asyncio
import gzip
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate

from tests.support.provider import (
    DONE,
    Behaviour,
    Call,
    Wire,
    answers,
    chunk,
    drips,
    fails,
    floods,
    redirects,
    resets,
    sends,
    sends_no_choices,
    stalls,
    streams,
)

KEY = "sk-canary-5e1d7c3b"
"""API key of the service, which the faults repeat in their messages."""
TEXT = "The answer."
PART = "The"
_ERROR_MESSAGE = f"Incorrect API key provided: {KEY}"
STOP = chunk(finish_reason="stop")
_EVENT_STREAM = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}


@dataclass(frozen=True)
class Fault:
    """Behaviour of a provider for requests without and with streaming."""

    name: str
    plain: Behaviour
    streamed: Behaviour
    is_answer: bool = False
    """Whether the outcome is an answer."""
    has_retry_after: bool = False
    """Whether the provider asks for a delay of one second."""


def _fault(name: str, behaviour: Behaviour, *, is_answer: bool = False, has_retry_after: bool = False) -> Fault:
    return Fault(name, behaviour, behaviour, is_answer, has_retry_after)


def _body_fault(name: str, plain: bytes, *streamed: bytes, is_answer: bool = False) -> Fault:
    return Fault(name, sends(plain), streams(*streamed), is_answer)


def _document(content: object = TEXT, finish_reason: str | None = "stop", **fields: object) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return json.dumps({"model": "m", "choices": [choice], **fields}).encode()


def _usage_fault(name: str, usage: Mapping[str, object]) -> Fault:
    event = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    return _body_fault(name, _document(usage=usage), chunk(TEXT), STOP, event, DONE, is_answer=True)


def _error_status(status: int, code: str | None = None, *, retry_after: str | None = None) -> Behaviour:
    return fails(status, retry_after=retry_after, message=_ERROR_MESSAGE, code=code)


def _unavailable_until(seconds: float) -> Behaviour:
    async def behave(call: Call, wire: Wire) -> None:
        # One second more, because an HTTP date has no fractions of a second.
        await _error_status(503, retry_after=formatdate(time.time() + seconds + 1, usegmt=True))(call, wire)

    return behave


async def _resets_during_response(call: Call, wire: Wire) -> None:
    if call.stream:
        await wire.head(200, _EVENT_STREAM)
        await wire.chunk(chunk(PART))
    else:
        await wire.head(200, {"Content-Type": "application/json", "Content-Length": "1000"})
        await wire.send(b'{"choices": [')
    await asyncio.sleep(0.1)  # a reset discards data that has not been read
    wire.reset()


async def _sends_headers_slowly(_: Call, wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await wire.send(b"X-More: and more\r\n")
        await asyncio.sleep(0.05)


async def _sends_endless_headers(_: Call, wire: Wire) -> None:
    await wire.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await wire.send(b"X-More: and more\r\n" * 1000)


async def _sends_smtp_greeting(_: Call, wire: Wire) -> None:
    await wire.send(b"220 mail.example.com ESMTP\r\n\r\n")


async def _sends_events_byte_by_byte(_: Call, wire: Wire) -> None:
    await wire.head(200, _EVENT_STREAM)
    for byte in chunk(TEXT) + STOP + DONE:
        await wire.chunk(bytes((byte,)))
        await asyncio.sleep(0.05)


async def _sends_100_mb(_: Call, wire: Wire) -> None:
    await wire.head(200, _EVENT_STREAM)
    event = chunk("and more " * 10_000)
    for _number in range(100_000_000 // len(event)):
        await wire.chunk(event)


def _sends_content_type(content_type: str) -> Behaviour:
    async def behave(call: Call, wire: Wire) -> None:
        if call.stream:
            await wire.respond(200, chunk(TEXT) + STOP + DONE, {"Content-Type": content_type})
        else:
            await wire.respond(200, _document(), {"Content-Type": content_type})

    return behave


async def _compresses(call: Call, wire: Wire) -> None:
    body = chunk(TEXT) + STOP + DONE if call.stream else _document()
    await wire.respond(200, gzip.compress(body), {"Content-Encoding": "gzip"})


async def _sends_short_body(call: Call, wire: Wire) -> None:
    body = chunk(PART) if call.stream else _document()
    await wire.head(200, {"Content-Type": "application/json", "Content-Length": str(len(body) + 100)})
    await wire.send(body)
    wire.close()


def _error() -> bytes:
    return json.dumps({"error": {"message": _ERROR_MESSAGE}}).encode()


async def _sends_document(_: Call, wire: Wire) -> None:
    await wire.respond(200, _document())


FAULTS = [
    # Refusals
    _fault("400", _error_status(400)),
    _fault("400, `context_length_exceeded`", _error_status(400, "context_length_exceeded")),
    _fault("400, `content_filter`", _error_status(400, "content_filter")),
    _fault("401", _error_status(401)),
    _fault("403", _error_status(403)),
    _fault("404", _error_status(404)),
    _fault("408", _error_status(408)),
    _fault("409", _error_status(409)),
    _fault("413", _error_status(413)),
    _fault("422", _error_status(422)),
    _fault("429", _error_status(429)),
    _fault("429, `Retry-After: 1`", _error_status(429, retry_after="1"), has_retry_after=True),
    _fault("429, `Retry-After: 86400`", _error_status(429, retry_after="86400")),
    _fault("429, `insufficient_quota`", _error_status(429, "insufficient_quota")),
    _fault("500", _error_status(500)),
    _fault("502, HTML page of a proxy", sends(b"<html>", status=502, content_type="text/html")),
    _fault("503, `Retry-After` is a date 1 s ahead", _unavailable_until(1), has_retry_after=True),
    _fault("503, invalid `Retry-After`", _error_status(503, retry_after="soon")),
    _fault("307, redirect to another path", redirects("/v1/chat/completions")),
    # Connections
    _fault("connection reset before the response", resets()),
    _fault("connection reset during the response", _resets_during_response),
    _fault("connection closed during the response", answers(TEXT, cut_after=1)),
    _fault("body shorter than `Content-Length`", _sends_short_body),
    _fault("no response", stalls()),
    _fault("response stalls, connection stays open", answers(TEXT, stall_after=1)),
    _fault("endless headers, slow", _sends_headers_slowly),
    _fault("endless headers, at full speed", _sends_endless_headers),
    _fault("not HTTP", _sends_smtp_greeting),
    Fault("one byte per 0.05 s", drips(0.05), _sends_events_byte_by_byte),
    Fault("one byte per 10 s", drips(10), streams(b"d", every=10)),
    Fault("100 MB of text", floods(100_000_000), _sends_100_mb),
    Fault("100 MB in one line", floods(100_000_000), floods(100_000_000)),
    # Invalid bodies
    _body_fault("empty body", b""),
    _body_fault("invalid JSON", b'{"choices": [', chunk(PART), b'data: {"choices": [\n\n'),
    _body_fault("invalid UTF-8", _document("@").replace(b"@", b"\xff"), chunk(PART), chunk("@").replace(b"@", b"\xff")),
    _body_fault("JSON with 100 000 nested arrays", b"[" * 100_000, chunk(PART), b"data: " + b"[" * 100_000 + b"\n\n"),
    _body_fault("body is a JSON number", b"7", chunk(PART), b"data: 7\n\n"),
    _fault("HTML page with status 200", sends(b"<html>", content_type="text/html")),
    _fault("compressed although `Accept-Encoding` excludes it", _compresses),
    _body_fault("error object with status 200", _error(), chunk(PART), b"data: " + _error() + b"\n\n"),
    # Incomplete answers
    _fault("no choices", sends_no_choices()),
    _body_fault("no finish reason", _document(finish_reason=None), chunk(TEXT), DONE),
    _body_fault("text is null", _document(None), chunk(), STOP, DONE),
    _body_fault("text is blank", _document(" \n"), chunk(" \n"), STOP, DONE),
    _body_fault(
        "`finish_reason` `content_filter`",
        _document(finish_reason="content_filter"),
        chunk(TEXT),
        chunk(finish_reason="content_filter"),
        DONE,
    ),
    _body_fault(
        "`finish_reason` `content_filter`, without text",
        _document("", "content_filter"),
        chunk(finish_reason="content_filter"),
        DONE,
    ),
    _body_fault("`finish_reason` `tool_calls`", _document(None, "tool_calls"), chunk(finish_reason="tool_calls"), DONE),
    # Answers
    _body_fault(
        "`finish_reason` `length`",
        _document(finish_reason="length"),
        chunk(TEXT),
        chunk(finish_reason="length"),
        DONE,
        is_answer=True,
    ),
    _body_fault(
        "NUL and an unpaired surrogate in the text",
        _document("The \x00answer\ud800."),
        chunk("The \x00ans"),
        chunk("wer\ud800."),
        STOP,
        DONE,
        is_answer=True,
    ),
    _body_fault("no usage", _document(), chunk(TEXT), STOP, DONE, is_answer=True),
    _usage_fault("usage is negative", {"prompt_tokens": -5, "completion_tokens": 3}),
    _usage_fault("usage is zero", {"prompt_tokens": 0, "completion_tokens": 0}),
    _usage_fault("usage is implausibly large", {"prompt_tokens": 10**15, "completion_tokens": 10**18}),
    _usage_fault("usage is not numeric", {"prompt_tokens": "many", "completion_tokens": None}),
    Fault(
        "JSON instead of an event stream, and the reverse",
        streams(chunk(TEXT), STOP, DONE),
        _sends_document,
        is_answer=True,
    ),
    _fault("wrong content type", _sends_content_type("text/plain"), is_answer=True),
    Fault(
        "`[DONE]` twice, with text after it",
        sends(_document()),
        streams(chunk(TEXT), STOP, DONE, DONE, chunk(" More."), DONE),
        is_answer=True,
    ),
    Fault("no `[DONE]`", sends(_document()), streams(chunk(TEXT), STOP), is_answer=True),
    Fault(
        "stream is not closed after `[DONE]`",
        sends(_document()),
        streams(chunk(TEXT), STOP, DONE, hold=True),
        is_answer=True,
    ),
]
