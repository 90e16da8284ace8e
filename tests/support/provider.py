"""Scriptable HTTP server with the API of a language model provider, faults included.

It serves `POST /v1/chat/completions` (complete answers and event streams) and `GET /v1/models` over real sockets, in a
separate thread, so that the client under test meets real network behaviour, including connection resets:

    with running_provider() as provider:
        provider.script(fails(503), answers("Hello."), model="gpt-4")
        provider.always(echoes())
        ...
        assert provider.calls[0].messages[-1]["content"] == "Hi"

It is one module although it exceeds 300 lines: the behaviours that a test can script, the writer that they use and the
server that runs them form one interface, and the behaviours share the private functions that build OpenAI's documents.
"""

import asyncio
import json
import re
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from queue import Empty, SimpleQueue
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.support.waiting import LONGEST_WAIT, wait_until

_STATUSES = frozenset(HTTPStatus)


@dataclass(slots=True)
class Call:
    """A received request for an answer. Times are those of `time.monotonic()`."""

    headers: dict[str, str]
    body: dict[str, Any]
    started: float
    connection: int = 0
    """Identifies the client's connection."""
    finished: float | None = None
    abandoned: float | None = None
    """When the client disconnected before the answer was complete. None: it did not."""

    @property
    def model(self) -> str:
        return str(self.body.get("model"))

    @property
    def messages(self) -> list[dict[str, str]]:
        return list(self.body.get("messages", []))

    @property
    def stream(self) -> bool:
        return self.body.get("stream") is True


class Wire:
    """Writer of one HTTP response."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        phrase = HTTPStatus(status).phrase if status in _STATUSES else ""
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {headers[name]}" for name in headers)]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one ends it."""
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def json(self, status: int, document: object, headers: Mapping[str, str] | None = None) -> None:
        await self.respond(status, json.dumps(document).encode(), headers)

    async def respond(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        length = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        await self.head(status, length | dict(headers or {}))
        await self.send(body)

    def close(self) -> None:
        """Close the connection normally."""
        self._writer.close()

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        option = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        self._writer.transport.abort()


Behaviour = Callable[[Call, Wire], Awaitable[None]]
"""Handles one request."""

NEVER = 3600.0


def answers(
    text: str = "Hello.",
    *,
    usage: tuple[int, int] | None = (12, 3),
    finish_reason: str | None = "stop",
    model: str | None = None,
    first_after: float = 0,
    every: float = 0,
    cut_after: int | None = None,
    stall_after: int | None = None,
    end: threading.Event | None = None,
) -> Behaviour:
    """Answer with a text: complete, or token by token if the request asks for a stream.

    `usage` is (prompt, completion) tokens. `usage=None` and `finish_reason=None` omit the field. `first_after` and
    `every` are seconds before the first token and between tokens. After `cut_after` tokens (characters if not streamed)
    the connection is closed; after `stall_after` it stays open without further data. With an `end`, the last token of a
    stream is sent when the event is set, and the delays between earlier tokens end, too.
    """

    async def behave(call: Call, wire: Wire) -> None:
        await asyncio.sleep(first_after)
        name = model or call.model
        stop = next((limit for limit in (cut_after, stall_after) if limit is not None), None)
        if call.stream:
            await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
            await _event(wire, name, {"role": "assistant", "content": ""})
            await _send_tokens(wire, name, _tokens(text)[:stop], every, end)
        else:
            document = json.dumps(_completion(name, text, usage, finish_reason)).encode()
            await wire.head(200, {"Content-Type": "application/json", "Content-Length": str(len(document))})
            await wire.send(document[:stop])
        if stall_after is not None:
            await asyncio.sleep(NEVER)
        if cut_after is not None:
            wire.close()
        elif call.stream:
            if finish_reason is not None:
                await _event(wire, name, {}, finish_reason=finish_reason)
            if usage is not None and (call.body.get("stream_options") or {}).get("include_usage"):
                # As OpenAI does: the last event has the usage and no choices.
                await _data(wire, {**_envelope(name, "chat.completion.chunk"), "choices": [], "usage": _usage(*usage)})
            await wire.chunk(b"data: [DONE]\n\n")
            await wire.chunk(b"")

    return behave


def held(gate: threading.Event, behaviour: Behaviour | None = None) -> Behaviour:
    """Receive the request, and answer when the event is set."""

    async def behave(call: Call, wire: Wire) -> None:
        await _wait_until_set(gate)
        await (behaviour or answers())(call, wire)

    return behave


async def _wait_until_set(gate: threading.Event) -> None:
    while not gate.is_set():  # noqa: ASYNC110 - another thread sets it
        await asyncio.sleep(0.002)


def streams(*pieces: bytes, every: float = 0, hold: bool = False) -> Behaviour:
    """Send exactly these pieces of an event stream, `every` seconds apart; `hold` leaves the connection open."""

    async def behave(_: Call, wire: Wire) -> None:
        await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        for piece in pieces:
            await wire.chunk(piece)
            await asyncio.sleep(every)
        if hold:
            await asyncio.sleep(NEVER)
        await wire.chunk(b"")

    return behave


def streams_from_queue(pieces: SimpleQueue[bytes | None]) -> Behaviour:
    """Send the pieces of an event stream as the test puts them into the queue; None ends the stream."""

    async def behave(_: Call, wire: Wire) -> None:
        await wire.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        while True:
            try:
                piece = pieces.get_nowait()
            except Empty:
                await asyncio.sleep(0.002)
                continue
            await wire.chunk(piece or b"")
            if piece is None:
                return

    return behave


def chunk(text: str | None = None, *, finish_reason: str | None = None, **fields: object) -> bytes:
    """Return one event of a streamed answer, for `streams`."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    document = {**_envelope("m", "chat.completion.chunk"), "choices": [choice], **fields}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def echoes() -> Behaviour:
    """Answer with the received messages, one `role: content` per line."""

    async def behave(call: Call, wire: Wire) -> None:
        lines = [f"{message['role']}: {message['content']}" for message in call.messages]
        await answers("\n".join(lines))(call, wire)

    return behave


def fails(
    status: int,
    *,
    retry_after: str | None = None,
    message: str = "provider detail, not for users",
    code: str | None = None,
) -> Behaviour:
    """Answer with an error status and OpenAI's error body."""

    async def behave(_: Call, wire: Wire) -> None:
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        await wire.json(status, {"error": {"message": message, "type": "server_error", "code": code}}, headers)

    return behave


def resets() -> Behaviour:
    """Reset the connection without an answer."""

    async def behave(_: Call, wire: Wire) -> None:
        wire.reset()

    return behave


def stalls() -> Behaviour:
    """Receive the request and never answer."""

    async def behave(_: Call, __: Wire) -> None:
        await asyncio.sleep(NEVER)

    return behave


def drips(every: float, text: str = "Hello.") -> Behaviour:
    """Send a valid body byte by byte, `every` seconds apart, so that no single read times out."""

    async def behave(call: Call, wire: Wire) -> None:
        body = json.dumps(_completion(call.model, text, (12, 3), "stop")).encode()
        await wire.head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        for byte in body:
            await wire.send(bytes([byte]))
            await asyncio.sleep(every)

    return behave


def sends(
    body: bytes, *, status: int = 200, content_type: str = "application/json", encoding: str | None = None
) -> Behaviour:
    """Send exactly these bytes as the body, such as invalid JSON or a proxy's HTML page."""
    compressed = {} if encoding is None else {"Content-Encoding": encoding}

    async def behave(call: Call, wire: Wire) -> None:
        if call.stream and status == HTTPStatus.OK:
            await wire.respond(status, b"data: " + body + b"\n\n", {"Content-Type": "text/event-stream"})
        else:
            await wire.respond(status, body, {"Content-Type": content_type, **compressed})

    return behave


def redirects(path: str) -> Behaviour:
    """Redirect to another path of this server."""

    async def behave(_: Call, wire: Wire) -> None:
        await wire.respond(307, b"", {"Location": path})

    return behave


def sends_no_choices() -> Behaviour:
    """Answer with an empty list of choices."""

    async def behave(call: Call, wire: Wire) -> None:
        kind = "chat.completion.chunk" if call.stream else "chat.completion"
        await sends(json.dumps({**_envelope(call.model, kind), "choices": []}).encode())(call, wire)

    return behave


def floods(size: int) -> Behaviour:
    """Answer with a valid document of about `size` bytes, as fast as the client reads it."""

    async def behave(call: Call, wire: Wire) -> None:
        head, _, tail = json.dumps(_completion(call.model, "@", (12, 3), "stop")).encode().partition(b"@")
        await wire.head(200, {"Content-Type": "application/json", "Content-Length": str(len(head) + size + len(tail))})
        await wire.send(head)
        block = b"x" * 65_536
        for start in range(0, size, len(block)):
            await wire.send(block[: size - start])
        await wire.send(tail)

    return behave


class Provider:
    """The server and its recorded requests. Use `running_provider` to create it."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._server: asyncio.Server | None = None
        self._port = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._calls: list[Call] = []
        self._queues: defaultdict[str | None, deque[Behaviour]] = defaultdict(deque)
        self._always: dict[str | None, Behaviour] = {}

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def calls(self) -> list[Call]:
        """Requests so far, oldest first."""
        return list(self._calls)

    def script(self, *behaviours: Behaviour, model: str | None = None) -> None:
        """Queue one behaviour for each of the next requests; with `model`, for requests of this model only."""
        self._queues[model].extend(behaviours)

    def always(self, behaviour: Behaviour, *, model: str | None = None) -> None:
        """Set the behaviour when none is queued. That of a model takes precedence over that of all models."""
        self._always[model] = behaviour

    def reset(self) -> None:
        """Clear scripts and recorded requests."""
        self._queues.clear()
        self._always.clear()
        self._calls.clear()

    def wait_for_calls(self, count: int, *, timeout: float = LONGEST_WAIT) -> list[Call]:
        """Wait for a number of requests. Raises TimeoutError."""
        self.wait_until(lambda: len(self._calls) >= count, timeout=timeout)
        return self.calls

    wait_until = staticmethod(wait_until)

    @contextmanager
    def refusing_connections(self) -> Iterator[None]:
        """Close the port and all connections during the block."""
        self._portal.call(self._close)
        try:
            yield
        finally:
            self._portal.call(self._open)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _behaviour(self, model: str) -> Behaviour:
        for key in (model, None):
            if queue := self._queues.get(key):
                return queue.popleft()
            if key in self._always:
                return self._always[key]
        return answers()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            first = b""
            while request := await _read_request(reader, first):
                first = await self._answer(*request, reader, Wire(writer))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            writer.close()

    async def _answer(
        self, line: str, headers: dict[str, str], body: bytes, reader: asyncio.StreamReader, wire: Wire
    ) -> bytes:
        """Answer one request. Return the first byte of the next one, or none if the client has disconnected."""
        if line.startswith("GET /v1/models "):
            await wire.json(200, {"object": "list", "data": []})
            return await reader.read(1)
        if not line.startswith("POST /v1/chat/completions "):
            await wire.json(404, {"error": {"message": f"no such route: {line}"}})
            return await reader.read(1)
        call = Call(headers, json.loads(body), time.monotonic(), id(reader))
        self._calls.append(call)
        behaviour = self._behaviour(call.model)
        answer = asyncio.ensure_future(behaviour(call, wire))
        # Clients send nothing before they have the answer, so a read that ends before it means a disconnect.
        hang_up = asyncio.ensure_future(_next_byte(reader))
        try:
            await asyncio.wait({answer, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and not hang_up.result():
                call.abandoned = time.monotonic()
                return b""
            # A client that has the whole answer may send the next request before the behaviour has returned.
            try:
                await answer
            except ConnectionError:
                call.abandoned = time.monotonic()
                raise
            call.finished = time.monotonic()
            return await hang_up
        finally:
            answer.cancel()
            hang_up.cancel()
            await asyncio.gather(answer, hang_up, return_exceptions=True)


async def _next_byte(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1)
    except ConnectionError:
        return b""  # a client that disconnects with unread data resets the connection


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Run a provider on a free port of the loopback interface."""
    with start_blocking_portal() as portal:
        provider = Provider(portal)
        portal.call(provider._open)
        try:
            yield provider
        finally:
            portal.call(provider._close)


async def _read_request(reader: asyncio.StreamReader, first: bytes) -> tuple[str, dict[str, str], bytes] | None:
    try:
        head = first + await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    except asyncio.IncompleteReadError:
        return None
    return line, headers, body


def _tokens(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+", text)


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _envelope(model: str, kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-test", "object": kind, "created": int(time.time()), "model": model}


def _completion(model: str, text: str, usage: tuple[int, int] | None, finish_reason: str | None) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", "content": text}}
    if finish_reason is not None:
        choice["finish_reason"] = finish_reason
    document = {**_envelope(model, "chat.completion"), "choices": [choice]}
    return document if usage is None else {**document, "usage": _usage(*usage)}


async def _event(wire: Wire, model: str, delta: dict[str, str], finish_reason: str | None = None) -> None:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    await _data(wire, {**_envelope(model, "chat.completion.chunk"), "choices": [choice]})


async def _send_tokens(wire: Wire, model: str, tokens: list[str], every: float, end: threading.Event | None) -> None:
    for number, token in enumerate(tokens, 1):
        if end is not None and number == len(tokens):
            await _wait_until_set(end)
        await _event(wire, model, {"content": token})
        if end is None or not end.is_set():
            await asyncio.sleep(every)


async def _data(wire: Wire, document: object) -> None:
    await wire.chunk(b"data: " + json.dumps(document).encode() + b"\n\n")
