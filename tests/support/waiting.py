"""Waiting for conditions, with timeouts that suit a busy machine."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONGEST_WAIT = 60.0
"""Timeout in seconds. Conditions usually hold within milliseconds; the timeout only ends a failing test."""
_POLL_INTERVAL = 0.005


def wait_until(condition: Callable[[], object], *, timeout: float = LONGEST_WAIT) -> None:
    """Return once the condition is true.

    Raises:
        TimeoutError: the condition did not become true.

    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_POLL_INTERVAL)


async def eventually(condition: Callable[[], object]) -> None:
    """Return once the condition is true, without blocking the event loop.

    Raises:
        TimeoutError: the condition did not become true.

    """
    async with asyncio.timeout(LONGEST_WAIT):
        while not condition():  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(_POLL_INTERVAL)


@contextmanager
def closed_gate() -> Iterator[threading.Event]:
    """Yield an event that is set at the latest when the block ends."""
    gate = threading.Event()
    try:
        yield gate
    finally:
        gate.set()
