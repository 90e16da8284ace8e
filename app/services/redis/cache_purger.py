"""Removes what Redis still holds of sessions that have been deleted."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from app.services.redis.circuit_breaker import RedisAwayError, RedisBreaker
from app.services.redis.keys import cache_index_of_session, erase_cached

_MOST_DUE = 10_000
"""Sessions that are remembered while Redis is away. What is left of others expires by itself."""
_LOOK_EVERY = 0.5
"""Seconds between looks whether it is back."""


class SessionCleaner:
    """Cleans at once, or as soon as Redis is back."""

    def __init__(self, breaker: RedisBreaker) -> None:
        self._breaker = breaker
        self._due: deque[UUID] = deque(maxlen=_MOST_DUE)

    async def clean(self, session_uuid: UUID) -> None:
        """Remove the cached answers of a session that is gone from PostgreSQL.

        It never fails, and takes as long as Redis may take at most.
        """
        if not await self._cleaned(session_uuid):
            self._due.append(session_uuid)

    async def run(self) -> None:
        """Work off what could not be done, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            while self._due and not self._breaker.is_away:
                await self.clean(self._due.popleft())

    async def _cleaned(self, session_uuid: UUID) -> bool:
        try:
            async with self._breaker.guard() as redis:
                await erase_cached(redis, cache_index_of_session(session_uuid))
        except RedisAwayError:
            return False
        return True


@asynccontextmanager
async def running_cleaner(breaker: RedisBreaker) -> AsyncIterator[SessionCleaner]:
    """Lend a cleaner that works off what it could not do at once."""
    cleaner = SessionCleaner(breaker)
    running = asyncio.create_task(cleaner.run())
    try:
        yield cleaner
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
