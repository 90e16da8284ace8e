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
ALL_REQUESTS = 2000
HEALTH_CHECKS = 50
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    """Ports of a running gateway, which believes the addresses of clients that the tests name."""
    with temporary_home() as home, running_gateway(home, {"GATEWAY_TRUSTED_PROXIES": "127.0.0.1"}) as url:
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


async def request(ports: Ports, method: str, path: str, address: str = "192.0.2.1") -> tuple[int, bytes]:
    """Send a request of a client and return status line and response; status 0: the connection was reset."""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\nContent-Length: 0\r\n"
    try:
        reader, writer = await send(ports, f"{head}Connection: close\r\n\r\n".encode())
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


@pytest.mark.parametrize(
    ("addresses", "limit"),
    [
        ([f"192.0.2.{number}" for number in range(6)], ALL_REQUESTS),
        (["2001:db8:1:2::1", "2001:db8:1:2:3::4", "2001:db8:1:2:ffff:ffff:ffff:ffff"], REQUESTS),
    ],
    ids=["all addresses", "an IPv6 network"],
)
async def test_requests_over_the_limit_of_several_addresses_are_refused(
    ports: Ports, addresses: list[str], limit: int
) -> None:
    refused = 50
    each, rest = divmod(limit + refused, len(addresses))
    async with running_stub(ports.chat) as stub:
        tasks = [
            asyncio.create_task(request(ports, "GET", "/api/v1/chat/sessions", address))
            for number, address in enumerate(addresses)
            for _ in range(each + (number < rest))
        ]
        await eventually(lambda: sum(task.done() for task in tasks) == refused and len(stub.received) == limit)
        stub.answer_all.set()
        responses = await asyncio.gather(*tasks)
    assert Counter(status for status, _ in responses) == {200: limit, 503: refused}


async def test_an_address_may_not_use_up_the_health_checks_of_others(ports: Ports) -> None:
    path = "/health/chat"
    async with running_stub(ports.chat) as stub:
        tasks = [asyncio.create_task(request(ports, "GET", path)) for _ in range(HEALTH_CHECKS + 10)]
        await eventually(lambda: sum(task.done() for task in tasks) == 10 and len(stub.received) == HEALTH_CHECKS)
        other = asyncio.create_task(request(ports, "GET", path, "192.0.2.2"))
        await eventually(lambda: len(stub.received) == HEALTH_CHECKS + 1)
        stub.answer_all.set()
        responses = await asyncio.gather(*tasks, other)
    assert Counter(status for status, _ in responses) == {200: HEALTH_CHECKS + 1, 503: 10}


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
