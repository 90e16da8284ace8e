"""Waits that end when the client disconnects."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.core.exceptions import ConflictError

T = TypeVar("T")

WaitForDisconnect = Callable[[], Awaitable[None]]
"""Returns when the client has disconnected."""


async def wait_unless_disconnected(work: Awaitable[T], wait_for_disconnect: WaitForDisconnect) -> T:
    """Return the result of `work`, which is cancelled if the client disconnects first.

    The server does not end the request of such a client. While it waits, it would occupy the place of one that the
    account needs for its next request.

    Raises:
        ConflictError: the client has disconnected.

    """
    task, disconnect = asyncio.ensure_future(work), asyncio.ensure_future(wait_for_disconnect())
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        disconnect.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if task.cancelled():
        raise ConflictError("The client has disconnected.", code="cancelled")
    return task.result()
