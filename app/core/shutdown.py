"""Shutdown of an HTTP server: the application is notified before the port is closed, and no connection is reset."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import cast

import uvicorn

SHUTDOWN_NOTICE = 0.5
"""Seconds for which readiness fails while requests are still served, so that load balancers notice."""

LATE_REQUESTS = 1.5
"""Seconds after the port is closed in which questions are accepted, on connections from before.

Longer than a connection may take to send its first request (`FIRST_REQUEST_TIMEOUT`).
"""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def notify_on_shutdown(stopping: asyncio.Event) -> Iterator[None]:
    """Set the event on SIGTERM or SIGINT; close the port and pass the signal to the server `SHUTDOWN_NOTICE` later.

    Uvicorn installs its handlers before the application starts and closes its port on the first signal. A second signal
    is passed on immediately. Does nothing outside the main thread, which is the only one that receives signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    # Signals without a Python handler keep their default action.
    handlers = {int(number): handler for number in _SIGNALS if callable(handler := signal.getsignal(number))}

    def handle_signal(number: int, frame: FrameType | None) -> None:
        server_handler = handlers[number]
        if stopping.is_set():
            server_handler(number, frame)
        else:
            loop.call_soon_threadsafe(stopping.set)
            loop.call_soon_threadsafe(loop.call_later, SHUTDOWN_NOTICE, stop, number)

    def stop(number: int) -> None:
        server_handler = handlers[number]
        server = getattr(server_handler, "__self__", None)
        if isinstance(server, uvicorn.Server):
            close_ports(server)
        server_handler(number, None)

    for number in handlers:
        signal.signal(number, handle_signal)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def close_ports(server: uvicorn.Server) -> None:
    """Close the ports of a server, and accept the connections that wait at them.

    The kernel establishes a connection before the process accepts it. If the port were closed before that, the
    connection would be reset, and the gateway must not repeat a POST that it may have sent.
    """
    for listener in server.servers:
        # The port stays open until its last descriptor is closed.
        ports = [socket.socket(fileno=os.dup(port.fileno())) for port in listener.sockets]
        listener.close()
        for port in ports:
            with port:
                for connection in _waiting_connections(port):
                    _serve(server, connection)


def _waiting_connections(port: socket.socket) -> Iterator[socket.socket]:
    with suppress(OSError):  # none waits any more
        while True:
            connection, _ = port.accept()
            yield connection


def _serve(server: uvicorn.Server, connection: socket.socket) -> None:
    config, state = server.config, server.server_state
    protocol_class = cast("Callable[..., asyncio.Protocol]", config.http_protocol_class)
    protocol = partial(protocol_class, config=config, server_state=state, app_state=server.lifespan.state)

    async def serve() -> None:
        await asyncio.get_running_loop().connect_accepted_socket(protocol, connection, ssl=config.ssl)

    serving = asyncio.create_task(serve())
    state.tasks.add(serving)
    serving.add_done_callback(state.tasks.discard)
