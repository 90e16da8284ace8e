"""The server: it records requests, and handles each with the behaviour that the test has set."""

import asyncio
import json
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.support.provider.answers import answers
from tests.support.provider.wire import Behaviour, Call, Wire
from tests.support.waiting import LONGEST_WAIT, wait_until


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
        self._apart: list[tuple[Callable[[Call], bool], Behaviour]] = []

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

    def always_for(self, matches: Callable[[Call], bool], behaviour: Behaviour) -> None:
        """Set the behaviour for requests that match, whatever is queued for others."""
        self._apart.append((matches, behaviour))

    def reset(self) -> None:
        """Clear scripts and recorded requests."""
        self._apart.clear()
        self._queues.clear()
        self._always.clear()
        self._calls.clear()

    def forget_finished_calls(self) -> None:
        """Drop the records of finished requests, which would grow for as long as a load runs."""
        self._calls[:] = [call for call in self._calls if call.finished is None and call.abandoned is None]

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

    def _behaviour(self, call: Call) -> Behaviour:
        for matches, behaviour in self._apart:
            if matches(call):
                return behaviour
        for key in (call.model, None):
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
        method, path, _ = line.split(" ", 2)
        if method != "POST" or not path.partition("?")[0].endswith("/chat/completions"):
            await wire.json(404, {"error": {"message": f"no such route: {line}"}})
            return await reader.read(1)
        call = Call(headers, json.loads(body), time.monotonic(), id(reader), path)
        self._calls.append(call)
        behaviour = self._behaviour(call)
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
