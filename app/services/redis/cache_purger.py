"""Removes what Redis still holds of sessions that have been deleted."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from app.services.redis.circuit_breaker import RedisCircuitBreaker, RedisUnavailableError
from app.services.redis.keys import cache_index_of_session, purge_index

_MAX_PENDING = 10_000
"""Sessions that are remembered while Redis is away. What is left of others expires by itself."""
_POLL_INTERVAL = 0.5
"""Seconds between looks whether it is back."""


class CachePurger:
    """Cleans at once, or as soon as Redis is back."""

    def __init__(self, breaker: RedisCircuitBreaker) -> None:
        self._breaker = breaker
        self._due: deque[UUID] = deque(maxlen=_MAX_PENDING)

    async def purge_session(self, session_uuid: UUID) -> None:
        """Remove the cached answers of a session that is gone from PostgreSQL.

        It never fails, and takes as long as Redis may take at most.
        """
        if not await self._try_purge(session_uuid):
            self._due.append(session_uuid)

    async def run(self) -> None:
        """Work off what could not be done, for ever."""
        while True:
            await asyncio.sleep(_POLL_INTERVAL)
            while self._due and not self._breaker.is_open:
                await self.purge_session(self._due.popleft())

    async def _try_purge(self, session_uuid: UUID) -> bool:
        try:
            async with self._breaker.guard() as redis:
                await purge_index(redis, cache_index_of_session(session_uuid))
        except RedisUnavailableError:
            return False
        return True


@asynccontextmanager
async def running_cache_purger(breaker: RedisCircuitBreaker) -> AsyncIterator[CachePurger]:
    """Lend a cache_purger that works off what it could not do at once."""
    cache_purger = CachePurger(breaker)
    running = asyncio.create_task(cache_purger.run())
    try:
        yield cache_purger
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
