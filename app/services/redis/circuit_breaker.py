"""Keeps requests from waiting for a Redis that is away."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from app.services.redis.client import REDIS_ERRORS

logger = logging.getLogger(__name__)

_PROBE_INTERVAL = 1.0
"""Seconds between looks at a Redis that was away."""


class RedisUnavailableError(Exception):
    """Redis did not do what it was asked, or was not asked because it is away."""


class RedisCircuitBreaker:
    """Lets commands through while Redis answers in time. When it does not, nobody asks until a probe finds it well.

    All that share one wait for an outage once.
    """

    def __init__(self, redis: Redis, *, budget: float) -> None:
        """`budget`: seconds Redis may take before it counts as away."""
        self.budget = budget
        self.outages = 0
        """How many there have been. What was written before the last one may be gone."""
        self._redis = redis
        self._probe: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether Redis failed and has not been found well since."""
        return self._probe is not None

    def stats(self) -> dict[str, bool | int]:
        """Return what this process has seen of Redis."""
        return {"is_away": self.is_open, "outages": self.outages}

    @contextlib.asynccontextmanager
    async def guard(self) -> AsyncIterator[Redis]:
        """Lend the client for as long as the block takes, the budget at most; while Redis is away, not at all.

        Raises:
            RedisUnavailableError: instead of whatever Redis or its client said.

        """
        if self.is_open:
            raise RedisUnavailableError
        try:
            async with asyncio.timeout(self.budget):
                yield self._redis
        except REDIS_ERRORS as error:
            if not self.is_open:
                logger.warning("redis is away", extra={"reason": type(error).__name__})
                self.outages += 1
                self._probe = asyncio.create_task(self._wait_for_redis())
            raise RedisUnavailableError from error

    def script(self, text: str) -> AsyncScript:
        """Prepare a script, to be run inside of `guard`. Nothing is sent before."""
        return self._redis.register_script(text)

    async def close(self) -> None:
        """Stop looking for a Redis that is away."""
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)

    async def _wait_for_redis(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_INTERVAL)
            with contextlib.suppress(*REDIS_ERRORS):
                async with asyncio.timeout(self.budget):
                    await self._redis.ping()
                break
        self._probe = None
        logger.info("redis is back")
