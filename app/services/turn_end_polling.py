"""Wait for the end of a turn after its cancellation has been requested."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.services.limits.admission import release_slot

ACTIVE_STATUSES = frozenset({"pending", "streaming"})
"""Statuses of an answer that is being generated."""
CANCEL_TIMEOUT = 6.0
"""Maximum seconds to wait for the end of a cancelled turn."""
_POLL_INTERVAL = 0.15
"""Interval between two reads of the answer in seconds."""

Answer = TypeVar("Answer")


async def _sleep() -> None:
    await asyncio.sleep(_POLL_INTERVAL)


async def wait_until_stopped(
    answer: Answer,
    read: Callable[[], Awaitable[Answer]],
    *,
    status_of: Callable[[Answer], str],
    wait: Callable[[], Awaitable[None]] = _sleep,
) -> Answer:
    """Read an answer repeatedly until it is no longer active, for up to `CANCEL_TIMEOUT` seconds.

    `answer` is its last known state, `wait` waits before each read. Returns the last state, which may still be active.
    """
    release_slot()  # cancelling takes up to seconds
    now = asyncio.get_running_loop().time
    deadline = now() + CANCEL_TIMEOUT
    while status_of(answer) in ACTIVE_STATUSES and now() < deadline:
        await wait()
        answer = await read()
    return answer
