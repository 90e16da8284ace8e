"""Redis client: construction from the settings, and its errors."""

import asyncio

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.config import Settings

REDIS_ERRORS = (RedisError, OSError, TimeoutError)
"""Errors of a failed or timed-out command."""


def open_redis(settings: Settings, *, max_blocking_seconds: float | None = None) -> Redis:
    """Return a client. It connects at the first command.

    It does not retry commands: with its own retries, every request would wait seconds for a frozen Redis. It has no
    command timeout either, because it would start a task for every command: callers use `asyncio.timeout`, as
    `RedisCircuitBreaker` does.

    `max_blocking_seconds` is for a client that only sends blocking commands: the longest time that they may block. Its
    commands time out on the client after that time plus `REDIS_TIMEOUT`.
    """
    password = settings.REDIS_PASSWORD.get_secret_value() if settings.REDIS_PASSWORD else None
    client: Redis = Redis.from_url(
        settings.REDIS_URL,
        # A password or database in the URL takes precedence.
        password=password,
        db=settings.REDIS_DB,
        socket_timeout=None if max_blocking_seconds is None else settings.REDIS_TIMEOUT + max_blocking_seconds,
        socket_connect_timeout=settings.REDIS_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        # Each subscriber to a turn of another process blocks a connection; the default limit is 100.
        max_connections=10_000,
        decode_responses=False,
    )
    return client


async def is_reachable(redis: Redis, *, max_seconds: float) -> bool:
    """Return whether Redis answers a ping within `max_seconds`."""
    try:
        async with asyncio.timeout(max_seconds):
            return bool(await redis.ping())
    except REDIS_ERRORS:
        return False
