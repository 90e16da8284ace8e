"""Waiting until something is so, for as long as a busy machine may need."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONGEST_WAIT = 60.0
"""Seconds. What is waited for normally comes within milliseconds: the bound only ends a wait that is in vain."""
_POLL_INTERVAL = 0.005


def wait_until(condition: Callable[[], object], *, timeout: float = LONGEST_WAIT) -> None:
    """Return once the condition is true.

    Raises:
        TimeoutError: it never was.

    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_POLL_INTERVAL)


async def eventually(condition: Callable[[], object]) -> None:
    """Return once the condition is true. What else there is to do in this event loop is done meanwhile.

    Raises:
        TimeoutError: it never was.

    """
    async with asyncio.timeout(LONGEST_WAIT):
        while not condition():  # noqa: ASYNC110 - nobody is told when it is so
            await asyncio.sleep(_POLL_INTERVAL)


@contextmanager
def closed_gate() -> Iterator[threading.Event]:
    """Lend an event that others wait for until the test sets it, or is over."""
    gate = threading.Event()
    try:
        yield gate
    finally:
        gate.set()
