"""Concurrent clients that check every event they receive against the guarantees of the API."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

import aiohttp

from tests.fixtures.services import CHAT, User
from tests.fixtures.streaming import TERMINAL, Event


@dataclass
class Reading:
    """State of one answer at a client, across reconnections."""

    session: str
    message: str = ""
    text: str = ""
    position: int | None = None
    end: Event | None = None
    snapshots: int = 0
    cuts: int = 0
    broken_at: float = 0.0
    """Wall-clock time of the first connection loss."""
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """Monotonic time of each event, and the seconds since the previous one."""

    def take(self, event: Event) -> None:
        """Add an event and check by its position that nothing is missing or repeated."""
        assert self.end is None, "an event after the terminal one"
        assert self.position is None or event.id > self.position, "repeated event"
        self.position = event.id
        match event.name:
            case "message.created":
                assert event.id == 0
                self.message = event.data["message_id"]
            case "message.delta":
                self.text += event.data["text"]
                assert len(self.text) == event.id, "missing or repeated text"
            case "message.snapshot":
                self.snapshots += 1
                assert event.data["message"]["content"].startswith(self.text), (
                    "the received text is no prefix of the stored"
                )
                self.text = event.data["message"]["content"]
            case _:
                assert event.name in TERMINAL
                self.end = event
                assert event.data["length"] == len(self.text)
                assert event.data["sha256"] == hashlib.sha256(self.text.encode()).hexdigest()

    def finish(self, status: str) -> None:
        """Record the status of an answer that was not streamed."""
        self.end = Event(f"message.{status}", len(self.text), {"message": {"status": status}})

    @property
    def status(self) -> str:
        assert self.end is not None
        return str(self.end.data["message"]["status"])


class Refused(Exception):  # noqa: N818 - an expected response
    """The service responded with a problem document."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: str | None = None) -> None:
        super().__init__(status, problem)
        self.status = status
        self.problem = problem
        self.retry_after = retry_after


class Client:
    """Client of one user, for any replica."""

    def __init__(self, http: aiohttp.ClientSession, user: User) -> None:
        self._http = http
        self.user = user

    @classmethod
    @asynccontextmanager
    async def of(cls, *users: User) -> AsyncIterator[list[Self]]:
        """Create a client for each user."""
        timeout = aiohttp.ClientTimeout(total=300)
        # A connection is not used again, because the service may be closing it.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            yield [cls(http, user) for user in users]

    async def request(self, url: str, method: str, path: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - passed on
        """Send a request and return the JSON document of the response.

        Raises:
            Refused: the response is a problem document.

        """
        headers = self.user.headers | arguments.pop("headers", {})
        async with self._http.request(method, f"{url}{CHAT}{path}", headers=headers, **arguments) as response:
            document: dict[str, Any] = await response.json(content_type=None)
            if not response.ok:
                raise Refused(response.status, document)
            return document

    async def status(self, url: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> int:
        """Send a POST request, read the whole response, and return its status."""
        headers |= self.user.headers
        async with self._http.post(f"{url}{CHAT}{path}", json=body, headers=headers) as response:
            await response.read()
            return response.status

    async def open(self, url: str) -> str:
        return str((await self.request(url, "POST", "/sessions", json={"title": "Drill"}))["session_id"])

    async def ask(
        self,
        url: str,
        session: str,
        message: str = "Hi",
        *,
        key: str | None = None,
        until: int | None = None,
        reading: Reading | None = None,
    ) -> Reading:
        """Ask a question and read the stream to its end, or until `until` characters were received.

        A `reading` is filled with the events as they arrive.
        """
        reading = reading or Reading(session)
        headers = {} if key is None else {"Idempotency-Key": key}
        path = f"/sessions/{session}/messages/stream"
        await self._read(reading, until, "POST", f"{url}{CHAT}{path}", headers, json={"message": message})
        return reading

    async def resume(self, url: str, reading: Reading, *, until: int | None = None) -> None:
        """Resume the stream at the last position."""
        headers = {} if reading.position is None else {"Last-Event-ID": str(reading.position)}
        path = f"/sessions/{reading.session}/messages/{reading.message}/events"
        await self._read(reading, until, "GET", f"{url}{CHAT}{path}", headers)

    async def cancel(self, url: str, reading: Reading) -> dict[str, Any]:
        return await self.request(url, "POST", f"/sessions/{reading.session}/messages/{reading.message}/cancel")

    async def messages(self, url: str, session: str) -> list[dict[str, Any]]:
        return list((await self.request(url, "GET", f"/sessions/{session}"))["messages"])

    async def _read(
        self,
        reading: Reading,
        until: int | None,
        method: str,
        url: str,
        headers: dict[str, str],
        **arguments: Any,  # noqa: ANN401 - passed on
    ) -> None:
        """Read events until the terminal event, `until` characters, or a lost connection."""
        try:
            async with self._http.request(method, url, headers=self.user.headers | headers, **arguments) as response:
                if not response.ok:
                    problem = await response.json(content_type=None)
                    raise Refused(response.status, problem, response.headers.get("Retry-After"))
                last = time.monotonic()
                async for event in _events(response.content):
                    now = time.monotonic()
                    reading.gaps.append((now, now - last))
                    last = now
                    reading.take(event)
                    if until is not None and reading.end is None and len(reading.text) >= until and reading.message:
                        reading.cuts += 1
                        response.close()
                        return
        except aiohttp.ClientError:
            pass
        if reading.end is None:
            reading.broken_at = reading.broken_at or time.time()


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    while line := (await content.readline()).decode():
        if not line.endswith("\n"):
            return  # incomplete line of a lost connection
        name, _, value = line.rstrip("\r\n").partition(": ")
        if name and value:
            fields[name] = value
        elif not name and fields:
            yield Event(fields["event"], int(fields["id"]), json.loads(fields["data"]))
            fields = {}


async def resume_to_the_end(client: Client, url: Callable[[], str], reading: Reading) -> None:
    """Resume the stream until the terminal event was received."""
    async with asyncio.timeout(300):
        while reading.end is None:
            try:
                await client.resume(url(), reading)
            except Refused as refused:
                if refused.status not in {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE}:
                    raise
            if reading.end is None:
                await asyncio.sleep(0.2)
