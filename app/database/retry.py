"""Storing what has been paid for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.core.exceptions import DatabaseUnavailableError

STORE_TIMEOUT = 15.0
"""Seconds that are tried while PostgreSQL is away."""
_RETRY_INTERVAL = 0.5
"""Seconds between attempts."""

T = TypeVar("T")


async def retry_until_available(store: Callable[[], Awaitable[T]]) -> T:
    """Try again while PostgreSQL is away, for a while. `store` must be harmless to repeat.

    Raises:
        DatabaseUnavailableError: it was away for too long.

    """
    try:
        async with asyncio.timeout(STORE_TIMEOUT):
            while True:
                try:
                    return await store()
                except DatabaseUnavailableError:
                    await asyncio.sleep(_RETRY_INTERVAL)
    except TimeoutError:
        raise DatabaseUnavailableError from None
