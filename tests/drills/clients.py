"""Many clients at once, each of which holds what it gets against what it was promised."""

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
    """What a client has of one answer, over all its connections."""

    session: str
    message: str = ""
    text: str = ""
    position: int | None = None
    end: Event | None = None
    snapshots: int = 0
    cuts: int = 0
    broken_at: float = 0.0
    """When the connection was lost first, by the wall clock."""
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """When pieces came, by the monotonic clock, and how long after what came before."""

    def take(self, event: Event) -> None:
        """Add an event. Each says where it belongs: nothing may be missing before it, and nothing come twice."""
        assert self.end is None, "an event after the terminal one"
        assert self.position is None or event.id > self.position, "an event came twice"
        self.position = event.id
        match event.name:
            case "message.created":
                assert event.id == 0
                self.message = event.data["message_id"]
            case "message.delta":
                self.text += event.data["text"]
                assert len(self.text) == event.id, "text is missing, or came twice"
            case "message.snapshot":
                self.snapshots += 1
                assert event.data["message"]["content"].startswith(self.text), "what was seen is not what is stored"
                self.text = event.data["message"]["content"]
            case _:
                assert event.name in TERMINAL
                self.end = event
                assert event.data["length"] == len(self.text)
                assert event.data["sha256"] == hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def status(self) -> str:
        assert self.end is not None
        return str(self.end.data["message"]["status"])


class Refused(Exception):  # noqa: N818 - an answer like another
    """The service answered with a problem."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(status, problem)
        self.status = status
        self.problem = problem


class Client:
    """One user, in front of any replica."""

    def __init__(self, http: aiohttp.ClientSession, user: User) -> None:
        self._http = http
        self.user = user

    @classmethod
    @asynccontextmanager
    async def of(cls, *users: User) -> AsyncIterator[list[Self]]:
        """Make a client of each of the users."""
        timeout = aiohttp.ClientTimeout(total=90)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
            yield [cls(http, user) for user in users]

    async def request(self, url: str, method: str, path: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401 - passed on
        """Make a request that is answered with a document.

        Raises:
            Refused: with a problem.

        """
        headers = self.user.headers | arguments.pop("headers", {})
        async with self._http.request(method, f"{url}{CHAT}{path}", headers=headers, **arguments) as response:
            document: dict[str, Any] = await response.json(content_type=None)
            if not response.ok:
                raise Refused(response.status, document)
            return document

    async def status(self, url: str, path: str, body: dict[str, Any], headers: dict[str, str]) -> int:
        """Post something, wait for the end of the answer, and give its status."""
        headers |= self.user.headers
        async with self._http.post(f"{url}{CHAT}{path}", json=body, headers=headers) as response:
            await response.read()
            return response.status

    async def open(self, url: str) -> str:
        return str((await self.request(url, "POST", "/sessions", json={}))["session_id"])

    async def ask(
        self, url: str, session: str, message: str = "Hi", *, key: str | None = None, until: int | None = None
    ) -> Reading:
        """Ask, and read the answer to its end, or `until` that many characters have come."""
        reading = Reading(session)
        headers = {} if key is None else {"Idempotency-Key": key}
        path = f"/sessions/{session}/messages/stream"
        await self._read(reading, until, "POST", f"{url}{CHAT}{path}", headers, json={"message": message})
        return reading

    async def resume(self, url: str, reading: Reading, *, until: int | None = None) -> None:
        """Go on reading."""
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
        """Read events until the end, or the cut, or the connection's loss."""
        try:
            async with self._http.request(method, url, headers=self.user.headers | headers, **arguments) as response:
                if not response.ok:
                    raise Refused(response.status, await response.json(content_type=None))
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
            return  # cut in the middle of it
        name, _, value = line.rstrip("\r\n").partition(": ")
        if name and value:
            fields[name] = value
        elif not name and fields:
            yield Event(fields["event"], int(fields["id"]), json.loads(fields["data"]))
            fields = {}


async def follow_to_the_end(client: Client, url: Callable[[], str], reading: Reading) -> None:
    """Come back until there is a terminal event."""
    async with asyncio.timeout(60):
        while reading.end is None:
            try:
                await client.resume(url(), reading)
            except Refused as refused:
                if refused.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
            if reading.end is None:
                await asyncio.sleep(0.2)
