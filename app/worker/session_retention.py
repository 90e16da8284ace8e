"""Sessions are kept for as long as the operator says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from app.database.connection import Database
from app.database.repositories.chat import session_retention
from app.database.repositories.chat.session_retention import UnusedSession
from app.services.redis.cache_purger import CachePurger, running_cache_purger
from app.services.redis.circuit_breaker import RedisCircuitBreaker

_BATCH = 100
_RUN_SECONDS = 30.0
"""After so long the rest waits for the next round."""


@dataclass(frozen=True, slots=True)
class SessionRetention:
    """Deletes what has not been used for long, as its owner would: copies in Redis go too."""

    database: Database
    breaker: RedisCircuitBreaker
    cache_purger: CachePurger
    age: timedelta

    async def delete_some(self) -> int:
        """Delete sessions for a while, and say how many.

        While Redis is away nothing is deleted: it may hold copies, and nothing here is urgent.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + _RUN_SECONDS
        done = 0
        while not self.breaker.is_open and now() < deadline:
            async with self.database.autocommit() as connection:
                unused = await session_retention.find_unused(connection, age=self.age, limit=_BATCH)
            removed = [await self._delete(one) for one in unused if now() < deadline]
            done += sum(removed)
            # Those that somebody else is just removing will be gone the next time.
            if len(unused) < _BATCH or not any(removed):
                break
        return done

    async def _delete(self, unused: UnusedSession) -> bool:
        async with self.database.transaction() as transaction:
            if not await session_retention.remove(transaction, unused, age=self.age):
                return False
        await self.cache_purger.purge_session(unused.uuid)
        return True


@asynccontextmanager
async def open_session_retention(
    database: Database, breaker: RedisCircuitBreaker, *, days: int
) -> AsyncIterator[SessionRetention]:
    """Lend what deletes sessions that nobody has used for so many days."""
    async with running_cache_purger(breaker) as cache_purger:
        yield SessionRetention(database, breaker, cache_purger, timedelta(days=days))
