"""Scriptable HTTP server that receives webhooks and other requests, faults included.

It accepts any request over real sockets, in a separate thread, and records it:

    with running_receiver() as receiver:
        receiver.script(replies(500), replies(500))
        receiver.always(replies(204))
        ...
        assert receiver.requests[0].headers["webhook-id"] == ...
"""

import asyncio
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.support.provider import NEVER, Wire
from tests.support.waiting import wait_until


@dataclass(slots=True)
class Request:
    """A received request. Times are those of `time.monotonic()`."""

    line: str
    headers: dict[str, str]
    body: bytes
    started: float
    finished: float | None = None
    """When it was answered, or the client disconnected."""


Behaviour = Callable[[Wire], Awaitable[None]]
"""Handles one request."""


def replies(status: int, headers: Mapping[str, str] | None = None, *, after: float = 0) -> Behaviour:
    """Answer with a status, after a number of seconds."""

    async def behave(wire: Wire) -> None:
        await asyncio.sleep(after)
        await wire.head(status, {"Content-Length": "0", **(headers or {})})

    return behave


def held(gate: threading.Event) -> Behaviour:
    """Answer with 204 when the event is set."""

    async def behave(wire: Wire) -> None:
        while not gate.is_set():  # noqa: ASYNC110 - another thread sets it
            await asyncio.sleep(0.002)
        await replies(204)(wire)

    return behave


def hangs() -> Behaviour:
    """Never answer."""

    async def behave(_: Wire) -> None:
        await asyncio.sleep(NEVER)

    return behave


def sends(*pieces: bytes, every: float = 0, forever: bool = False) -> Behaviour:
    """Send exactly these bytes, `every` seconds apart; `forever` repeats them."""

    async def behave(wire: Wire) -> None:
        is_first = True
        while is_first or forever:
            is_first = False
            for piece in pieces:
                await wire.send(piece)
                await asyncio.sleep(every)

    return behave


def floods(head: bytes, block: bytes) -> Behaviour:
    """Send the headers and then blocks, as long as the client reads them."""

    async def behave(wire: Wire) -> None:
        await wire.send(head)
        await sends(block, forever=True)(wire)

    return behave


class Receiver:
    """The server and its recorded requests. Use `running_receiver` to create it."""

    def __init__(self, portal: BlockingPortal, host: str, tls: ssl.SSLContext | None) -> None:
        self._portal = portal
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: deque[Behaviour] = deque()
        self._always: Behaviour = replies(204)
        self.host = host
        self.port = 0
        self.connections = 0
        """Number of connections so far."""
        self.requests: list[Request] = []
        """Requests so far, oldest first."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hook"

    def script(self, *behaviours: Behaviour) -> None:
        """Queue one behaviour for each of the next requests."""
        self._queue.extend(behaviours)

    def always(self, behaviour: Behaviour) -> None:
        """Set the behaviour when none is queued. The default is to answer 204."""
        self._always = behaviour

    def wait_for_requests(self, count: int) -> list[Request]:
        """Wait for a number of requests. Raises TimeoutError."""
        wait_until(lambda: len(self.requests) >= count)
        return list(self.requests)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(reader, Wire(writer))
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, wire: Wire) -> None:
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(line, headers, body, time.monotonic())
        self.requests.append(request)
        behaviour = self._queue.popleft() if self._queue else self._always
        answer = asyncio.ensure_future(behaviour(wire))
        hang_up = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answer, hang_up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            request.finished = time.monotonic()
            answer.cancel()
            hang_up.cancel()
            await asyncio.gather(answer, hang_up, return_exceptions=True)


@contextmanager
def running_receiver(host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver on a free port of the loopback interface."""
    with start_blocking_portal() as portal:
        receiver = Receiver(portal, host, tls)
        portal.call(receiver.open)
        try:
            yield receiver
        finally:
            portal.call(receiver.close)
