"""Circuit breaker for Redis: while it is unavailable, commands fail at once instead of after a timeout."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from app.core.background_tasks import stop_tasks
from app.services.redis.client import REDIS_ERRORS

logger = logging.getLogger(__name__)

_PROBE_INTERVAL = 1.0
"""Interval between probes of an unavailable Redis in seconds."""


class RedisUnavailableError(Exception):
    """A command failed, or was not sent because Redis is unavailable."""


class RedisCircuitBreaker:
    """Circuit breaker: opens at the first failed or slow command, and closes when a probe succeeds.

    Callers that share a breaker wait for one timeout per outage, not one each.
    """

    def __init__(self, redis: Redis, *, budget: float) -> None:
        """`budget`: timeout of the commands of one block in seconds; exceeding it opens the breaker."""
        self.budget = budget
        self.outages = 0
        """Number of outages so far. Data written before the last one may be lost."""
        self._redis = redis
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether Redis has failed and no probe has succeeded since."""
        return self._probe is not None

    def stats(self) -> dict[str, bool | int]:
        """Return the state of the breaker, for the heartbeat."""
        return {"is_away": self.is_open, "outages": self.outages}

    @contextlib.asynccontextmanager
    async def guard(self) -> AsyncIterator[Redis]:
        """Return a context manager that gives the client, and limits the block to `budget` seconds.

        Raises:
            RedisUnavailableError: the breaker is open, or the block raised one of `REDIS_ERRORS`.

        """
        if self.is_open:
            raise RedisUnavailableError
        try:
            async with asyncio.timeout(self.budget):
                yield self._redis
        except REDIS_ERRORS as error:
            if not self.is_open:
                logger.warning("redis unavailable", extra={"reason": type(error).__name__})
                self.outages += 1
                self._probe = asyncio.create_task(self._wait_for_redis())
            raise RedisUnavailableError from error

    def script(self, text: str) -> AsyncScript:
        """Return a Lua script to call inside a `guard` block. Nothing is sent to Redis before the call."""
        return self._redis.register_script(text)

    async def close(self) -> None:
        """Stop probing."""
        if self._probe is not None:
            await stop_tasks([self._probe])

    async def _wait_for_redis(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_INTERVAL)
            with contextlib.suppress(*REDIS_ERRORS):
                async with asyncio.timeout(self.budget):
                    await self._redis.ping()
                break
        self._probe = None
        logger.info("redis available")
