"""Connections whose requests are on their way: during a shutdown, and slow or endless ones."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.http import uvicorn_protocol
from app.http.uvicorn_protocol import ProblemProtocol
from tests.support.waiting import LONGEST_WAIT, eventually

REQUEST = b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[uvicorn.Server]:
    """A server whose event loop is that of the test."""
    monkeypatch.setattr(uvicorn_protocol, "FIRST_REQUEST_TIMEOUT", LONGEST_WAIT)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(PlainTextResponse("answered"), http=ProblemProtocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listener]))
    await eventually(lambda: server.started)
    yield server
    server.should_exit = server.force_exit = True
    await serving


async def connect(server: uvicorn.Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    known = len(server.server_state.connections)
    port = server.servers[0].sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await eventually(lambda: len(server.server_state.connections) > known)
    return reader, writer


async def test_request_that_arrives_after_the_port_is_closed_is_answered(server: uvicorn.Server) -> None:
    reader, writer = await connect(server)
    listening = server.servers[0]
    server.should_exit = True
    await eventually(lambda: not listening.is_serving())
    await asyncio.sleep(0)
    writer.write(REQUEST)
    response = await reader.read()
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.endswith(b"answered")
    writer.close()


async def test_idle_connection_after_a_response_is_closed_at_once(server: uvicorn.Server) -> None:
    reader, writer = await connect(server)
    writer.write(REQUEST.replace(b"Connection: close\r\n", b""))
    assert (await reader.readuntil(b"answered")).startswith(b"HTTP/1.1 200 ")
    server.should_exit = True
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"\r\n\r\n", b"", id="empty lines"),
        pytest.param(b"GE", b"HTTP/1.1 408 ", id="method"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: test\r\nX-A: ", b"HTTP/1.1 408 ", id="headers"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
async def test_incomplete_head_ends_in_bounded_time(
    server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch, sent: bytes, status: bytes, *, is_first: bool
) -> None:
    monkeypatch.setattr(uvicorn_protocol, "HEAD_TIMEOUT", 0.5)
    reader, writer = await connect(server)
    if not is_first:
        writer.write(REQUEST.replace(b"Connection: close\r\n", b""))
        await reader.readuntil(b"answered")
    writer.write(sent)
    async with asyncio.timeout(LONGEST_WAIT):
        response = await reader.read()
    assert response.startswith(status)
    assert bool(response) is bool(status)
    writer.close()


async def test_data_that_arrive_slowly_do_not_extend_the_time(
    server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uvicorn_protocol, "HEAD_TIMEOUT", 0.5)
    reader, writer = await connect(server)
    writer.write(b"GET / HTTP/1.1\r\nX-A: ")

    async def trickle() -> None:
        while not reader.at_eof():
            writer.write(b"a")
            await asyncio.sleep(0.05)

    trickling = asyncio.create_task(trickle())
    async with asyncio.timeout(LONGEST_WAIT):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    trickling.cancel()
    writer.close()


async def test_endless_head_is_refused(server: uvicorn.Server) -> None:
    reader, writer = await connect(server)
    writer.write(b"GET / HTTP/1.1\r\n")
    for _ in range(70):
        writer.write(b"X-A: " + b"a" * 1000 + b"\r\n")
    async with asyncio.timeout(LONGEST_WAIT):
        response = await reader.readuntil(b"\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 431 ")
    writer.close()


async def test_slow_response_and_slow_body_are_not_cut(server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_protocol, "HEAD_TIMEOUT", 0.1)

    async def answer_slowly(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        await asyncio.sleep(0.4)
        await PlainTextResponse("answered")(scope, receive, send)

    monkeypatch.setattr(server.config, "loaded_app", answer_slowly)
    reader, writer = await connect(server)
    writer.write(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\n")
    for byte in (b"a", b"b"):
        await asyncio.sleep(0.2)
        writer.write(byte)
    writer.write(b"GET / HTT")  # the next request
    async with asyncio.timeout(LONGEST_WAIT):
        assert (await reader.readuntil(b"answered")).startswith(b"HTTP/1.1 200 ")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
async def test_upgrade_is_ignored(server: uvicorn.Server, protocol: bytes) -> None:
    reader, writer = await connect(server)
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n")
        async with asyncio.timeout(LONGEST_WAIT):
            assert (await reader.readuntil(b"answered")).startswith(b"HTTP/1.1 200 ")
    writer.close()


@pytest.mark.parametrize("length", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"])
async def test_upgrade_with_a_body_is_refused(server: uvicorn.Server, length: bytes) -> None:
    reader, writer = await connect(server)
    writer.write(b"POST / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + length)
    async with asyncio.timeout(LONGEST_WAIT):
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"cannot have an Upgrade header" in response
    writer.close()
