"""Purging of cached answers of deleted sessions, during and after outages of Redis."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.services.redis.deleted_session_purger import DeletedSessionPurger, running_deleted_session_purger
from app.services.redis.keys import cache_index_of_session, stream_key
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError
from app.services.redis.stream_buffer import StreamBuffer, StreamSnapshot
from tests.support.waiting import eventually


@pytest.fixture
async def purger(breaker: RedisCircuitBreaker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DeletedSessionPurger]:
    monkeypatch.setattr("app.services.redis.deleted_session_purger._POLL_INTERVAL", 0.02)
    async with running_deleted_session_purger(breaker) as purger:
        yield purger


def store_answer(session: UUID, redis: Redis) -> str:
    """Store an answer in the cache, and return its key."""
    key = f"answer:{uuid4()}"
    redis.set(key, "Secret.")
    redis.zadd(cache_index_of_session(session).entries, {key: 1})
    return key


async def open_breaker(breaker: RedisCircuitBreaker, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Open the breaker. It looks for Redis when the event is set."""
    may_reconnect, wait_for_redis = asyncio.Event(), breaker._wait_for_redis

    async def wait_until_allowed() -> None:
        await may_reconnect.wait()
        await wait_for_redis()

    monkeypatch.setattr(breaker, "_wait_for_redis", wait_until_allowed)
    with pytest.raises(RedisUnavailableError):
        async with breaker.guard():
            raise ConnectionError
    return may_reconnect


async def test_a_session_is_purged_at_once(purger: DeletedSessionPurger, redis: Redis) -> None:
    session, other = uuid4(), uuid4()
    deleted, remaining = store_answer(session, redis), store_answer(other, redis)
    answer, other_answer = uuid4(), uuid4()
    for one in (answer, other_answer):
        redis.xadd(stream_key(one), {"text": "Secret."})
    await purger.purge_sessions([session], [answer])
    assert (redis.exists(deleted), redis.exists(remaining)) == (0, 1)
    assert (redis.exists(stream_key(answer)), redis.exists(stream_key(other_answer))) == (0, 1)


async def test_a_running_turn_does_not_buffer_the_text_of_a_deleted_answer_again(
    purger: DeletedSessionPurger, breaker: RedisCircuitBreaker, redis: Redis, redis_url: str
) -> None:
    deleted, kept = uuid4(), uuid4()
    async with AsyncRedis.from_url(redis_url) as blocking:
        buffer = StreamBuffer(breaker, blocking, lifetime=1200)

        async def write(text: str, *, is_over: bool = False) -> None:
            for answer in (deleted, kept):
                await buffer.write([StreamSnapshot(stream_key(answer), text, is_over)])

        await write("Sec")
        await purger.purge_sessions([], [deleted])
        for length in range(4, 8):
            await write("Secret."[:length])
            assert redis.exists(stream_key(deleted)) == 0
        await write("Secret.", is_over=True)
        assert redis.exists(stream_key(deleted)) == 0
        assert (await buffer.read(kept, after=0, wait=0)).text == "Secret."


async def test_sessions_deleted_during_an_outage_are_purged_after_it(
    purger: DeletedSessionPurger,
    breaker: RedisCircuitBreaker,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sessions = [uuid4() for _ in range(20)]
    keys = [store_answer(session, redis) for session in sessions]
    may_reconnect = await open_breaker(breaker, monkeypatch)
    for session in sessions:
        await purger.purge_sessions([session], [])
    assert redis.exists(*keys) == 20
    may_reconnect.set()
    await eventually(lambda: redis.exists(*keys) == 0)


async def test_the_number_of_pending_sessions_is_bounded(
    breaker: RedisCircuitBreaker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.redis.deleted_session_purger._MAX_PENDING", 3)
    purger = DeletedSessionPurger(breaker)
    sessions = [uuid4() for _ in range(5)]
    keys = [store_answer(session, redis) for session in sessions]
    may_reconnect = await open_breaker(breaker, monkeypatch)
    for session in sessions:
        await purger.purge_sessions([session], [])
    working = asyncio.create_task(purger.run())
    may_reconnect.set()
    await eventually(lambda: redis.exists(*keys) <= 2)
    working.cancel()
    assert redis.exists(*keys[:2]) == 2  # the oldest ones: they expire
