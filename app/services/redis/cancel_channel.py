"""Redis channel that notifies the process that runs a turn of a request to cancel it.

It only reduces the delay: the request is stored in PostgreSQL, which that process polls once a second.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from uuid import UUID

from redis.asyncio import Redis

from app.services.redis.client import REDIS_ERRORS
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

logger = logging.getLogger(__name__)

_CHANNEL = "turns:stop"
_RECONNECT_DELAY = 1.0
"""Delay before subscribing again after a failure of Redis, in seconds."""


class CancelChannel:
    """Pub/sub channel with the ids of turns to cancel."""

    def __init__(self, breaker: RedisCircuitBreaker, blocking_redis: Redis) -> None:
        """`blocking_redis`: client whose reads may block, for the subscription."""
        self._breaker = breaker
        self._blocking_redis = blocking_redis

    async def publish(self, turn_id: UUID) -> None:
        """Notify all processes. An unavailable Redis is ignored."""
        with contextlib.suppress(RedisUnavailableError):
            async with self._breaker.guard() as redis:
                await redis.publish(_CHANNEL, str(turn_id))

    async def listen(self, stop: Callable[[UUID], None]) -> None:
        """Call `stop` with each published id, until cancelled."""
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
                logger.warning("invalid turn id on cancel channel")
            except Exception:
                logger.exception("cancel channel failed")
                await asyncio.sleep(_RECONNECT_DELAY)
