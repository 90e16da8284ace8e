"""Tells the process that runs a turn, at once, that the turn is to be stopped.

Only to be quick: the request is in PostgreSQL, where that process looks once a second.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from uuid import UUID

from redis.asyncio import Redis

from app.services.redis.circuit_breaker import RedisCircuitBreaker, RedisUnavailableError
from app.services.redis.client import REDIS_ERRORS

logger = logging.getLogger(__name__)

_CHANNEL = "turns:stop"
_RECONNECT_DELAY = 1.0
"""Seconds before listening again after Redis failed."""


class CancelChannel:
    """A channel of Redis with ids of turns."""

    def __init__(self, breaker: RedisCircuitBreaker, blocking_redis: Redis) -> None:
        """Use two clients: the breaker's, whose commands are short, and one that may wait for what it reads."""
        self._breaker = breaker
        self._blocking_redis = blocking_redis

    async def publish(self, turn_id: UUID) -> None:
        """Tell all processes. That Redis is away is no error."""
        with contextlib.suppress(RedisUnavailableError):
            async with self._breaker.guard() as redis:
                await redis.publish(_CHANNEL, str(turn_id))

    async def listen(self, stop: Callable[[UUID], None]) -> None:
        """Call `stop` with each id that anybody tells, for ever."""
        while True:
            try:
                async with self._blocking_redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(_CHANNEL)
                    while True:
                        message = await channel.get_message(timeout=5)
                        if message is not None:
                            stop(UUID(message["data"].decode()))
            except REDIS_ERRORS:
                await asyncio.sleep(_RECONNECT_DELAY)
            except ValueError:
                logger.warning("not the id of a turn")
