"""Circuit breaker for Redis: while it is unavailable, commands fail at once instead of after a timeout."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.commands.core import AsyncScript
from redis.exceptions import MaxConnectionsError

from app.core.background_tasks import stop_tasks
from app.services.redis.client import REDIS_ERRORS

logger = logging.getLogger(__name__)

_MAX_DELAY = 0.25
"""Delay of an expired timeout, in seconds, from which the process is too busy to judge Redis."""
_MAX_LATE_SECONDS = 1.0
"""Time without a success after which such timeouts count as an outage, too."""

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
        self._late_since: float | None = None
        """Time of the first timeout that was noticed late, since the last success."""

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
        deadline = asyncio.timeout(self.budget)
        try:
            async with deadline:
                yield self._redis
        except REDIS_ERRORS as error:
            # A timeout that this process noticed late, and a full pool of connections, say nothing about Redis.
            if not isinstance(error, MaxConnectionsError) and not self._is_own_delay(deadline):
                self._open(error)
            raise RedisUnavailableError from error
        self._late_since = None

    def script(self, text: str) -> AsyncScript:
        """Return a Lua script to call inside a `guard` block. Nothing is sent to Redis before the call."""
        return self._redis.register_script(text)

    async def close(self) -> None:
        """Stop probing."""
        if self._probe is not None:
            await stop_tasks([self._probe])

    def _is_own_delay(self, deadline: asyncio.Timeout) -> bool:
        """Return whether an expired timeout was noticed so late that this process may have caused it."""
        now, expired_at = asyncio.get_running_loop().time(), deadline.when()
        if expired_at is None or now < expired_at + _MAX_DELAY:
            return False
        if self._late_since is None:
            self._late_since = now
        return now < self._late_since + _MAX_LATE_SECONDS

    def _open(self, error: BaseException) -> None:
        if self.is_open:
            return
        logger.warning("redis unavailable", extra={"reason": type(error).__name__})
        self.outages += 1
        self._probe = asyncio.create_task(self._wait_for_redis())

    async def _wait_for_redis(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_INTERVAL)
            try:
                async with asyncio.timeout(self.budget):
                    await self._redis.ping()
            except REDIS_ERRORS:
                continue
            except Exception:
                logger.exception("redis probe failed")
                continue
            break
        self._probe = None
        logger.info("redis available")
