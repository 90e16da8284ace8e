"""Retries of database operations while PostgreSQL is unavailable."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_fixed

from app.core.exceptions import DatabaseUnavailableError

STORE_TIMEOUT = 15.0
"""Default time for all attempts together, in seconds."""
STORE_RETRY_INTERVAL = 0.5
"""Default pause between two attempts, in seconds."""

T = TypeVar("T")


async def retry_until_available(
    operation: Callable[[], Awaitable[T]],
    *,
    max_seconds: float = STORE_TIMEOUT,
    interval: float = STORE_RETRY_INTERVAL,
) -> T:
    """Run an idempotent operation, repeat it while PostgreSQL is unavailable, and return its result.

    `max_seconds` bounds all attempts and pauses together; an attempt that is running then is cancelled. `interval` is
    the pause between two attempts in seconds. Any other error is raised at once.

    Raises:
        DatabaseUnavailableError: PostgreSQL was unavailable for `max_seconds`.

    """

    async def attempt() -> T:  # tenacity awaits only what is a coroutine function; callers pass lambdas
        return await operation()

    try:
        async with asyncio.timeout(max_seconds):
            try:
                # Every turn comes through here: without an outage the library is not needed.
                return await operation()
            except DatabaseUnavailableError:
                await asyncio.sleep(interval)
            retrying = AsyncRetrying(retry=retry_if_exception_type(DatabaseUnavailableError), wait=wait_fixed(interval))
            return await retrying(attempt)
    except TimeoutError:
        raise DatabaseUnavailableError from None
