"""Purger of the copies of deleted sessions and messages from Redis."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

from app.core.background_tasks import background_task
from app.services.redis.keys import cache_index_of_session
from app.services.redis.purge import purge_indexes, purge_streams
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

_MAX_PENDING = 10_000
"""Maximum number of batches that wait for Redis. Copies of others expire automatically."""
_SESSIONS_PER_BATCH = 100
_ANSWERS_PER_BATCH = 500
"""Numbers of sessions and answers that are purged at once: the circuit breaker limits the time of each batch."""
_POLL_INTERVAL = 0.5
"""Interval between checks in seconds whether Redis is available again."""


class _Purge(NamedTuple):
    session_uuids: Sequence[UUID]
    answers: Sequence[UUID]
    """Deleted answers of which there may be stream buffers."""
    is_deleted: bool
    """Whether the sessions were deleted, and not only answers in them."""


class DeletedSessionPurger:
    """Purges copies at once, or when Redis is available again."""

    def __init__(self, breaker: RedisCircuitBreaker) -> None:
        self._breaker = breaker
        self._pending: deque[_Purge] = deque(maxlen=_MAX_PENDING)

    async def purge_sessions(self, session_uuids: Sequence[UUID], answers: Sequence[UUID]) -> None:
        """Remove the cached answers and stream buffers of sessions that have been deleted from PostgreSQL.

        It does not raise, and takes at most the budget of the circuit breaker for each batch.
        """
        for batch in _batches(session_uuids, _SESSIONS_PER_BATCH):
            await self._purge(_Purge(batch, (), is_deleted=True))
        for batch in _batches(answers, _ANSWERS_PER_BATCH):
            await self._purge(_Purge((), batch, is_deleted=True))

    async def purge_messages(self, session_uuid: UUID, answers: Sequence[UUID]) -> None:
        """Remove the buffers of answers that have been deleted from PostgreSQL, and the cached answers of the session.

        It does not raise, and takes at most the budget of the circuit breaker for each batch.
        """
        await self._purge(_Purge((session_uuid,), (), is_deleted=False))
        for batch in _batches(answers, _ANSWERS_PER_BATCH):
            await self._purge(_Purge((), batch, is_deleted=True))

    async def run(self) -> None:
        """Repeat pending purges whenever Redis is available, until cancelled."""
        while True:
            await asyncio.sleep(_POLL_INTERVAL)
            while self._pending and not self._breaker.is_open:
                await self._purge(self._pending.popleft())

    async def _purge(self, purge: _Purge) -> None:
        indexes = map(cache_index_of_session, purge.session_uuids)
        try:
            async with self._breaker.guard() as redis:
                await purge_indexes(redis, *indexes, is_deleted=purge.is_deleted)
                await purge_streams(redis, purge.answers)
        except RedisUnavailableError:
            self._pending.append(purge)


def _batches(items: Sequence[UUID], size: int) -> Iterator[Sequence[UUID]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@asynccontextmanager
async def running_deleted_session_purger(breaker: RedisCircuitBreaker) -> AsyncIterator[DeletedSessionPurger]:
    """Return a context manager that gives a purger and runs it in the background."""
    deleted_session_purger = DeletedSessionPurger(breaker)
    async with background_task(deleted_session_purger.run):
        yield deleted_session_purger
