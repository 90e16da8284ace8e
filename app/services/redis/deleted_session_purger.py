"""Purger of the cached answers of deleted sessions from Redis."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from app.core.background_tasks import background_task
from app.services.redis.keys import cache_index_of_session
from app.services.redis.purge import purge_index, purge_indexes
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

_MAX_PENDING = 10_000
"""Maximum number of sessions that wait for Redis. Cached answers of others expire automatically."""
_BATCH_SIZE = 100
"""Number of sessions that are purged at once: the circuit breaker limits the time of each batch."""
_POLL_INTERVAL = 0.5
"""Interval between checks in seconds whether Redis is available again."""


class DeletedSessionPurger:
    """Purges sessions at once, or when Redis is available again."""

    def __init__(self, breaker: RedisCircuitBreaker) -> None:
        self._breaker = breaker
        self._pending: deque[UUID] = deque(maxlen=_MAX_PENDING)

    async def purge_session(self, session_uuid: UUID) -> None:
        """Remove the cached answers of a session that has been deleted from PostgreSQL.

        It does not raise, and takes at most the budget of the circuit breaker.
        """
        if not await self._try_purge(session_uuid):
            self._pending.append(session_uuid)

    async def purge_sessions(self, session_uuids: Sequence[UUID]) -> None:
        """Remove the cached answers of many sessions; see `purge_session`."""
        for start in range(0, len(session_uuids), _BATCH_SIZE):
            batch = session_uuids[start : start + _BATCH_SIZE]
            try:
                async with self._breaker.guard() as redis:
                    await purge_indexes(redis, [cache_index_of_session(session_uuid) for session_uuid in batch])
            except RedisUnavailableError:
                self._pending.extend(batch)

    async def run(self) -> None:
        """Purge the pending sessions whenever Redis is available, until cancelled."""
        while True:
            await asyncio.sleep(_POLL_INTERVAL)
            while self._pending and not self._breaker.is_open:
                await self.purge_session(self._pending.popleft())

    async def _try_purge(self, session_uuid: UUID) -> bool:
        try:
            async with self._breaker.guard() as redis:
                await purge_index(redis, cache_index_of_session(session_uuid))
        except RedisUnavailableError:
            return False
        return True


@asynccontextmanager
async def running_deleted_session_purger(breaker: RedisCircuitBreaker) -> AsyncIterator[DeletedSessionPurger]:
    """Return a context manager that gives a purger and runs it in the background."""
    deleted_session_purger = DeletedSessionPurger(breaker)
    async with background_task(deleted_session_purger.run):
        yield deleted_session_purger
