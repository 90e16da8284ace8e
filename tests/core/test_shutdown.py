"""Connections that wait at a port while it is closed."""

import asyncio
import socket
from collections.abc import Callable

import pytest
import uvicorn
import uvloop
from starlette.responses import PlainTextResponse

from app.core.shutdown import close_ports
from app.http.uvicorn_protocol import ProblemProtocol
from tests.support.waiting import LONGEST_WAIT, eventually

REQUEST = b"POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


async def responses_to_waiting_requests() -> list[bytes]:
    port = socket.create_server(("127.0.0.1", 0))
    address = port.getsockname()
    config = uvicorn.Config(PlainTextResponse("answered"), http=ProblemProtocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([port]))
    await eventually(lambda: server.started)
    # The kernel establishes the connections, but this loop has not accepted them yet.
    clients = [socket.create_connection(address, timeout=LONGEST_WAIT) for _ in range(5)]
    for client in clients:
        client.sendall(REQUEST)
    close_ports(server)
    server.should_exit = True
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    await serving
    received = [client.recv(1000) for client in clients]
    for client in clients:
        client.close()
    return received


@pytest.mark.parametrize("loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_waiting_connections_are_served(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        for response in runner.run(responses_to_waiting_requests()):
            assert response.startswith(b"HTTP/1.1 200 ")
