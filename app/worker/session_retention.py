"""Retention job: deletes chat sessions that have been unused for longer than the configured age."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from app.database.connection import Database
from app.database.repositories.chat import session_retention
from app.database.repositories.chat.session_retention import UnusedSession
from app.services.redis.deleted_session_purger import DeletedSessionPurger, running_deleted_session_purger
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker

_BATCH_SIZE = 100
_RUN_SECONDS = 30.0
"""Duration in seconds after which a run deletes no further session."""


@dataclass(frozen=True, slots=True)
class SessionRetention:
    """Job that deletes unused sessions in the same way as their owners, including copies of their text in Redis."""

    database: Database
    breaker: RedisCircuitBreaker
    deleted_session_purger: DeletedSessionPurger
    age: timedelta

    async def delete_unused(self) -> int:
        """Delete unused sessions for at most `_RUN_SECONDS`; return their number.

        While the circuit breaker of Redis is open nothing is deleted, because copies in Redis could not be purged.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + _RUN_SECONDS
        deleted = 0
        while not self.breaker.is_open and now() < deadline:
            async with self.database.autocommit() as connection:
                unused = await session_retention.find_unused(connection, age=self.age, limit=_BATCH_SIZE)
            results = [await self._delete(session) for session in unused if now() < deadline]
            deleted += sum(results)
            # Without a deletion another worker is removing the same sessions: stop instead of reading them again.
            if len(unused) < _BATCH_SIZE or not any(results):
                break
        return deleted

    async def _delete(self, unused: UnusedSession) -> bool:
        async with self.database.transaction() as transaction:
            deleted = await session_retention.remove(transaction, unused, age=self.age)
        await self.deleted_session_purger.purge_sessions(deleted.uuids, deleted.answer_uuids)
        return bool(deleted.uuids)


@asynccontextmanager
async def open_session_retention(
    database: Database, breaker: RedisCircuitBreaker, *, days: int
) -> AsyncIterator[SessionRetention]:
    """Open the retention job for sessions that have been unused for `days` days."""
    async with running_deleted_session_purger(breaker) as deleted_session_purger:
        yield SessionRetention(database, breaker, deleted_session_purger, timedelta(days=days))
