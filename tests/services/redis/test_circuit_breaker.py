"""The circuit breaker for Redis."""

import asyncio
import socket
import time

import pytest
from redis.asyncio import Redis as AsyncRedis

from app.config import Settings
from app.services.redis.client import open_redis
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError
from tests.support.waiting import LONGEST_WAIT, eventually


async def test_callers_that_share_a_breaker_wait_for_a_frozen_redis_once() -> None:
    server = socket.create_server(("127.0.0.1", 0))  # accepts connections, and never answers
    silent_redis = AsyncRedis(host="127.0.0.1", port=server.getsockname()[1])
    breaker = RedisCircuitBreaker(silent_redis, budget=0.2)
    started = time.monotonic()
    with pytest.raises(RedisUnavailableError):
        async with breaker.guard() as redis:
            await redis.ping()
    assert 0.15 < time.monotonic() - started < 30
    for _ in range(100):
        with pytest.raises(RedisUnavailableError):
            async with breaker.guard():
                raise AssertionError("nothing is let through")
    assert (breaker.is_open, breaker.outages) == (True, 1)
    await breaker.close()
    await silent_redis.aclose()
    server.close()


async def test_concurrent_failures_count_as_one_outage(settings: Settings) -> None:
    redis = open_redis(settings)
    breaker = RedisCircuitBreaker(redis, budget=0.1)

    async def never() -> None:
        with pytest.raises(RedisUnavailableError):
            async with breaker.guard():
                await asyncio.Event().wait()

    await asyncio.gather(*(never() for _ in range(10)))
    assert breaker.outages == 1
    await breaker.close()
    await redis.aclose()


async def test_the_breaker_closes_when_redis_is_available_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.redis.redis_circuit_breaker._PROBE_INTERVAL", 0.05)
    redis = open_redis(settings)
    breaker = RedisCircuitBreaker(redis, budget=LONGEST_WAIT)
    with pytest.raises(RedisUnavailableError):
        async with breaker.guard():
            raise ConnectionError
    await eventually(lambda: not breaker.is_open)
    async with breaker.guard() as client:
        assert await client.ping()
    await redis.aclose()


async def test_a_cancelled_command_does_not_open_the_breaker(settings: Settings) -> None:
    redis = open_redis(settings)
    breaker = RedisCircuitBreaker(redis, budget=LONGEST_WAIT)

    async def wait() -> None:
        async with breaker.guard() as client:
            await client.blpop(["nothing"], timeout=1)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not breaker.is_open
    await redis.aclose()


async def test_other_exceptions_are_raised_unchanged(settings: Settings) -> None:
    redis = open_redis(settings)
    breaker = RedisCircuitBreaker(redis, budget=LONGEST_WAIT)
    with pytest.raises(ZeroDivisionError):
        async with breaker.guard():
            _ = 1 / 0
    assert not breaker.is_open
    await redis.aclose()


async def time_out_late(breaker: RedisCircuitBreaker) -> None:
    """Block the event loop while a command waits, until after its timeout."""
    with pytest.raises(RedisUnavailableError):  # noqa: PT012 - the block stands for one command
        async with breaker.guard():
            time.sleep(breaker.budget + 0.3)  # noqa: ASYNC251 - another task that blocks
            await asyncio.sleep(0)
            await asyncio.Event().wait()


async def test_busy_process_does_not_report_an_outage(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    redis = open_redis(settings)
    breaker = RedisCircuitBreaker(redis, budget=0.05)
    await time_out_late(breaker)
    assert breaker.outages == 0
    # Only if that goes on without a success.
    monkeypatch.setattr("app.services.redis.redis_circuit_breaker._MAX_LATE_SECONDS", 0.1)
    await time_out_late(breaker)
    assert breaker.outages == 1
    await breaker.close()
    await redis.aclose()


async def test_full_pool_does_not_report_an_outage(settings: Settings) -> None:
    redis = open_redis(settings)
    redis.connection_pool.max_connections = 0
    breaker = RedisCircuitBreaker(redis, budget=LONGEST_WAIT)
    with pytest.raises(RedisUnavailableError):
        async with breaker.guard() as client:
            await client.ping()
    assert not breaker.is_open
    await redis.aclose()
