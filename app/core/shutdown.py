"""Notification of a shutdown before the HTTP server stops accepting connections."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SHUTDOWN_NOTICE = 0.5
"""Seconds for which readiness fails while requests are still served, so that load balancers notice."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def notify_on_shutdown(stopping: asyncio.Event) -> Iterator[None]:
    """Set the event on SIGTERM or SIGINT, and pass the signal to the server `SHUTDOWN_NOTICE` later.

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
            loop.call_soon_threadsafe(loop.call_later, SHUTDOWN_NOTICE, server_handler, number, None)

    for number in handlers:
        signal.signal(number, handle_signal)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
