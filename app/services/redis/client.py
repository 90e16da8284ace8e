"""The client for Redis."""

import asyncio

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.config import Settings

REDIS_ERRORS = (RedisError, OSError, TimeoutError)
"""What it raises, or whoever bounds its time, when Redis does not do what it was asked."""


def open_redis(settings: Settings, *, longest_wait: float | None = None) -> Redis:
    """Make the client. Nothing is opened before the first command.

    No command is repeated: the client's own retries would turn a frozen Redis into seconds of waiting for every
    request. Whoever uses it bounds the time with `asyncio.timeout`, as `RedisBreaker` does: for a limit of its own, the
    client would start a task for every command. `longest_wait`: seconds that a command may ask Redis to wait, for a
    client that is used for nothing else; that one gives up by itself after as long and `REDIS_TIMEOUT`.
    """
    password = settings.REDIS_PASSWORD.get_secret_value() if settings.REDIS_PASSWORD else None
    client: Redis = Redis.from_url(
        settings.REDIS_URL,
        # What the URL itself holds wins over these two.
        password=password,
        db=settings.REDIS_DB,
        socket_timeout=None if longest_wait is None else settings.REDIS_TIMEOUT + longest_wait,
        socket_connect_timeout=settings.REDIS_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        # Every turn that is followed from elsewhere waits on a connection of its own; the client's own limit is 100.
        max_connections=10_000,
        decode_responses=False,
    )
    return client


async def is_reachable(redis: Redis, *, max_seconds: float) -> bool:
    """Tell whether Redis answers in time."""
    try:
        async with asyncio.timeout(max_seconds):
            return bool(await redis.ping())
    except REDIS_ERRORS:
        return False
