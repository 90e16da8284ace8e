"""What the cache holds of deleted sessions goes, with Redis or when it is back."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from redis import Redis

from app.services.redis.cache_purger import SessionCleaner, running_cleaner
from app.services.redis.circuit_breaker import RedisAwayError, RedisBreaker
from app.services.redis.keys import cache_index_of_session


@pytest.fixture
async def cleaner(breaker: RedisBreaker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SessionCleaner]:
    monkeypatch.setattr("app.services.redis.cache_purger._LOOK_EVERY", 0.02)
    async with running_cleaner(breaker) as cleaner:
        yield cleaner


def given_in(session: UUID, redis: Redis) -> str:
    """Put an answer into the cache, and give its key."""
    key = f"answer:{uuid4()}"
    redis.set(key, "Secret.")
    redis.zadd(cache_index_of_session(session).entries, {key: 1})
    return key


async def fail(breaker: RedisBreaker) -> None:
    """Have Redis taken for away, until somebody looks again."""
    with pytest.raises(RedisAwayError):
        async with breaker.guard():
            raise ConnectionError


async def until_left(count: int, keys: list[str], redis: Redis) -> None:
    async with asyncio.timeout(5):
        while redis.exists(*keys) > count:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.02)


async def test_a_session_is_cleaned_at_once(cleaner: SessionCleaner, redis: Redis) -> None:
    session, other = uuid4(), uuid4()
    gone, left = given_in(session, redis), given_in(other, redis)
    await cleaner.clean(session)
    assert (redis.exists(gone), redis.exists(left)) == (0, 1)


async def test_what_was_deleted_while_redis_was_away_is_cleaned_when_it_is_back(
    cleaner: SessionCleaner, breaker: RedisBreaker, redis: Redis
) -> None:
    sessions = [uuid4() for _ in range(20)]
    keys = [given_in(session, redis) for session in sessions]
    await fail(breaker)
    for session in sessions:
        await cleaner.clean(session)
    assert redis.exists(*keys) == 20
    await until_left(0, keys, redis)


async def test_only_so_many_are_remembered(
    breaker: RedisBreaker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.redis.cache_purger._MOST_DUE", 3)
    cleaner = SessionCleaner(breaker)
    sessions = [uuid4() for _ in range(5)]
    keys = [given_in(session, redis) for session in sessions]
    await fail(breaker)
    for session in sessions:
        await cleaner.clean(session)
    working = asyncio.create_task(cleaner.run())
    await until_left(2, keys, redis)
    working.cancel()
    assert redis.exists(*keys[:2]) == 2  # the oldest: they expire
