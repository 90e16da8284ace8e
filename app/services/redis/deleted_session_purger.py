"""Purger of the copies of deleted sessions and messages from Redis."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from app.core.background_tasks import background_task
from app.services.redis.keys import cache_index_of_session
from app.services.redis.purge import purge_indexes, purge_messages
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

_MAX_PENDING = 10_000
"""Maximum number of purges that wait for Redis. Copies of others expire automatically."""
_BATCH_SIZE = 100
"""Number of sessions that are purged at once: the circuit breaker limits the time of each batch."""
_POLL_INTERVAL = 0.5
"""Interval between checks in seconds whether Redis is available again."""


class _Purge(NamedTuple):
    session_uuid: UUID
    deleted_answers: Sequence[UUID] | None
    """None: the whole session was deleted."""


class DeletedSessionPurger:
    """Purges copies at once, or when Redis is available again."""

    def __init__(self, breaker: RedisCircuitBreaker) -> None:
        self._breaker = breaker
        self._pending: deque[_Purge] = deque(maxlen=_MAX_PENDING)

    async def purge_session(self, session_uuid: UUID) -> None:
        """Remove the cached answers of a session that has been deleted from PostgreSQL.

        It does not raise, and takes at most the budget of the circuit breaker.
        """
        await self.purge_sessions([session_uuid])

    async def purge_sessions(self, session_uuids: Sequence[UUID]) -> None:
        """Remove the cached answers of many sessions; see `purge_session`."""
        for start in range(0, len(session_uuids), _BATCH_SIZE):
            batch = session_uuids[start : start + _BATCH_SIZE]
            await self._purge([_Purge(session_uuid, None) for session_uuid in batch])

    async def purge_messages(self, session_uuid: UUID, answers: Sequence[UUID]) -> None:
        """Remove the buffers of answers that have been deleted from PostgreSQL, and the cached answers of the session.

        It does not raise, and takes at most the budget of the circuit breaker.
        """
        await self._purge([_Purge(session_uuid, answers)])

    async def run(self) -> None:
        """Repeat pending purges whenever Redis is available, until cancelled."""
        while True:
            await asyncio.sleep(_POLL_INTERVAL)
            while self._pending and not self._breaker.is_open:
                await self._purge([self._pending.popleft()])

    async def _purge(self, purges: Sequence[_Purge]) -> None:
        deleted = [cache_index_of_session(purge.session_uuid) for purge in purges if purge.deleted_answers is None]
        try:
            async with self._breaker.guard() as redis:
                await purge_indexes(redis, *deleted)
                for session_uuid, answers in purges:
                    if answers is not None:
                        await purge_messages(redis, cache_index_of_session(session_uuid), answers)
        except RedisUnavailableError:
            self._pending.extend(purges)


@asynccontextmanager
async def running_deleted_session_purger(breaker: RedisCircuitBreaker) -> AsyncIterator[DeletedSessionPurger]:
    """Return a context manager that gives a purger and runs it in the background."""
    deleted_session_purger = DeletedSessionPurger(breaker)
    async with background_task(deleted_session_purger.run):
        yield deleted_session_purger
