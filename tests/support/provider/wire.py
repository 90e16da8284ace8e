"""A received request, and the writer of its response."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

_STATUSES = frozenset(HTTPStatus)


@dataclass(slots=True)
class Call:
    """A received request for an answer. Times are those of `time.monotonic()`."""

    headers: dict[str, str]
    body: dict[str, Any]
    started: float
    connection: int = 0
    """Identifies the client's connection."""
    path: str = ""
    """Path and query."""
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
