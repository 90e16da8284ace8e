"""Hearing that the process is to stop before its server closes the door."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SHUTDOWN_NOTICE = 0.5
"""So long readiness is red while everything is still served, for balancers to see it."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def notify_on_shutdown(stopping: asyncio.Event) -> Iterator[None]:
    """Set the event when the process is told to stop; its server hears of it a moment later.

    Uvicorn listens to signals from before its application starts, and closes its port as soon as it hears one.
    A second signal goes to the server at once. Outside the main thread, where no signal arrives, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    # Where nobody listens the system's own way of ending the process stays.
    servers = {int(number): server for number in _SIGNALS if callable(server := signal.getsignal(number))}

    def hear(number: int, frame: FrameType | None) -> None:
        server = servers[number]
        if stopping.is_set():
            server(number, frame)
        else:
            loop.call_soon_threadsafe(stopping.set)
            loop.call_soon_threadsafe(loop.call_later, SHUTDOWN_NOTICE, server, number, None)

    for number in servers:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, server in servers.items():
            signal.signal(number, server)
