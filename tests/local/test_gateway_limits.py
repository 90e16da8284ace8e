"""Limits of the gateway: requests in progress, and slow bodies. The services behind it are stubs."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from local.ports import Ports
from tests.fixtures.servers import temporary_home
from tests.local.gateway_site import running_gateway
from tests.support.waiting import eventually

LONG_REQUESTS = 400
REQUESTS = 500
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    """Ports of a running gateway."""
    with temporary_home() as home, running_gateway(home) as url:
        yield Ports.of(urlsplit(url).port or 0)


class Stub:
    """A service that answers its requests when it is told to."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.answer_all = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        index = len(self.received)
        self.received.append(b"")
        reading = asyncio.create_task(self._read(reader, index))
        await self.answer_all.wait()
        reading.cancel()
        writer.write(ANSWER)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader, index: int) -> None:
        while data := await reader.read(65_536):
            self.received[index] += data


@asynccontextmanager
async def running_stub(port: int) -> AsyncIterator[Stub]:
    stub = Stub()
    async with await asyncio.start_server(stub.serve, "127.0.0.1", port, backlog=2000):
        yield stub
        stub.answer_all.set()


async def send(ports: Ports, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", ports.gateway)
    writer.write(data)
    return reader, writer


async def request(ports: Ports, method: str, path: str) -> tuple[int, bytes]:
    """Send a request and return status line and response; status 0: the connection was reset."""
    try:
        reader, writer = await send(
            ports, f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        response = await reader.read()
        writer.close()
    except OSError:
        return 0, b""
    return int(response.split()[1]) if response else 0, response


@pytest.mark.parametrize(
    ("method", "path", "limit"),
    [
        ("POST", "/api/v1/chat/direct", LONG_REQUESTS),
        ("GET", "/api/v1/chat/sessions/1/messages/2/events", LONG_REQUESTS),
        ("GET", "/api/v1/chat/sessions", REQUESTS),
    ],
)
async def test_requests_over_the_limit_of_an_address_get_a_problem_document(
    ports: Ports, method: str, path: str, limit: int
) -> None:
    async with running_stub(ports.chat) as stub:
        tasks = [asyncio.create_task(request(ports, method, path)) for _ in range(limit + 100)]
        await eventually(lambda: sum(task.done() for task in tasks) == 100 and len(stub.received) == limit)
        status, _ = await request(ports, "GET", "/health")
        assert status == 200
        stub.answer_all.set()
        responses = await asyncio.gather(*tasks)
    assert Counter(status for status, _ in responses) == {200: limit, 503: 100}
    head, _, body = next(response for status, response in responses if status == 503).partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"retry-after: 2" in head.lower()
    assert json.loads(body)["code"] == "overloaded"


async def test_bodies_are_passed_on_while_they_arrive(ports: Ports) -> None:
    async with running_stub(ports.auth) as stub:
        _, writer = await send(ports, b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\npart")
        await eventually(lambda: any(received.endswith(b"part") for received in stub.received))
        writer.close()


@pytest.mark.parametrize("path", ["/health/auth", "/health/chat"])
async def test_health_checks_do_not_wait_for_a_body(ports: Ports, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\n".encode()
    reader, writer = await send(ports, head + b"Content-Length: 1000\r\n\r\nx")
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    reader, writer = await send(ports, head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n")
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
