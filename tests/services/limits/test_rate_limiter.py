"""Rate limits of requests, counted in a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis
from limits import RateLimitItemPerSecond
from limits.aio.strategies import MovingWindowRateLimiter

from app.config import Settings
from app.services.limits.moving_window import InMemoryMovingWindows, LimitStatus, RedisMovingWindows, Window
from app.services.limits.rate_limiter import RateLimiter
from app.services.redis.client import open_redis
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from local.redis import Redis as RedisServer
from tests.fixtures.dedicated_servers import stopped, suspended
from tests.support.waiting import eventually

MakeLimits = Callable[..., Awaitable[RateLimiter]]
BUDGET = 2.0
"""Timeout in seconds of commands to a Redis that may be suspended."""


@pytest.fixture
async def make_limits(settings: Settings, redis: redis.Redis) -> AsyncIterator[MakeLimits]:
    """Factory of the rate limiters of several processes."""
    async with AsyncExitStack() as stack:

        async def make(user: int, address: int, *, seconds: int = 60, url: str | None = None) -> RateLimiter:
            changed = settings.model_copy(
                update={
                    "REDIS_URL": url or settings.REDIS_URL,
                    "REDIS_TIMEOUT": BUDGET if url else settings.REDIS_TIMEOUT,
                    "RATE_LIMIT_REQUESTS": user,
                    "RATE_LIMIT_REQUESTS_PER_ADDRESS": address,
                    "RATE_LIMIT_WINDOW": seconds,
                }
            )
            client = open_redis(changed)
            stack.push_async_callback(client.aclose)
            breaker = RedisCircuitBreaker(client, budget=changed.REDIS_TIMEOUT)
            stack.push_async_callback(breaker.close)
            return RateLimiter(changed, client, breaker)

        yield make


async def hit(limits: RateLimiter, account: UUID | None = None, network: str | None = None) -> LimitStatus:
    status = await limits.count(account=account, network=network)
    assert status is not None
    return status


def refused(statuses: list[LimitStatus]) -> int:
    return sum(status.is_refused for status in statuses)


async def test_two_processes_together_allow_exactly_the_limit_of_300_concurrent_requests(
    make_limits: MakeLimits,
) -> None:
    processes = [await make_limits(100, 1000), await make_limits(100, 1000)]
    ada = uuid4()
    statuses = await asyncio.gather(*(hit(processes[number % 2], ada, "192.0.2.1") for number in range(300)))
    assert refused(statuses) == 200
    assert sorted(status.remaining for status in statuses if not status.is_refused) == list(range(100))


async def test_the_window_moves_with_time_and_is_not_reset(make_limits: MakeLimits, redis: redis.Redis) -> None:
    limits, ada = await make_limits(3, 1000), uuid4()
    for _ in range(3):
        await hit(limits, ada)
    (key,) = redis.keys()
    now = time.time()
    for index, age in enumerate((10, 20, 61)):
        redis.lset(key, index, f"{now - age:.6f}")
    status = await hit(limits, ada)
    assert (status.is_refused, status.remaining) == (False, 0)
    again = await hit(limits, ada)
    assert again.is_refused
    # The oldest that still counts was 20 s old.
    for one in (status, again):
        assert now + 40 - time.time() <= one.reset_after <= 41
    assert 0 < redis.ttl(key) <= 60


async def test_counters_are_compatible_with_the_library(make_limits: MakeLimits, settings: Settings) -> None:
    limits, ada = await make_limits(5, 1000), uuid4()
    status = await hit(limits, ada)
    async with open_redis(settings) as client:
        library = MovingWindowRateLimiter(RedisMovingWindows(client))
        stats = await library.get_window_stats(status.window.policy, str(ada))
        assert stats.remaining == status.remaining == 4
        for _ in range(4):
            assert await library.hit(status.window.policy, str(ada))
    assert (await hit(limits, ada)).is_refused


async def test_a_refused_request_is_counted_in_no_window(make_limits: MakeLimits) -> None:
    limits, network = await make_limits(2, 5), "192.0.2.1"
    ada, bob = uuid4(), uuid4()
    statuses = [await hit(limits, ada, network) for _ in range(20)]
    assert refused(statuses) == 18
    assert {status.window.policy.namespace for status in statuses} == {"user"}
    # Requests of Ada that are refused do not use up the limit of others behind the same address.
    assert not (await hit(limits, bob, network)).is_refused
    assert [(await hit(limits, uuid4(), network)).is_refused for _ in range(3)] == [False, False, True]
    full = await hit(limits, bob, network)
    assert (full.is_refused, full.window.policy.namespace, full.remaining) == (True, "address", 0)
    # Requests that the limit of the network refused do not count for Bob either.
    assert (await hit(limits, bob, "192.0.2.2")).remaining == 0


async def test_accounts_and_networks_are_counted_separately(make_limits: MakeLimits) -> None:
    limits = await make_limits(1, 1)
    assert refused([await hit(limits, uuid4()) for _ in range(5)]) == 0
    assert refused([await hit(limits, None, f"192.0.2.{number}") for number in range(5)]) == 0


async def test_scripts_are_loaded_again_when_redis_has_lost_them(make_limits: MakeLimits, redis: redis.Redis) -> None:
    limits, ada = await make_limits(2, 1000), uuid4()
    await hit(limits, ada)
    redis.script_flush()
    assert (await hit(limits, ada)).remaining == 0


async def test_counting_starts_again_when_redis_has_lost_its_data(make_limits: MakeLimits, redis: redis.Redis) -> None:
    limits, ada = await make_limits(2, 1000), uuid4()
    assert refused([await hit(limits, ada) for _ in range(3)]) == 1
    redis.flushall()
    assert refused([await hit(limits, ada) for _ in range(3)]) == 1


@pytest.mark.parametrize("outage", ["stopped", "suspended"])
async def test_without_redis_each_process_counts_in_memory(
    make_limits: MakeLimits, redis_server: RedisServer, server_home: Path, outage: str
) -> None:
    limits, ada = await make_limits(10, 15, url=redis_server.url), uuid4()
    assert (await hit(limits, ada, "192.0.2.1")).remaining == 9
    with stopped(redis_server) if outage == "stopped" else suspended("redis", server_home):
        statuses = [await hit(limits, ada, "192.0.2.1") for _ in range(30)]
        assert limits._breaker.outages == 1  # only the first request waited for the timeout
        assert refused(statuses) == 20
        assert {status.window.policy.namespace for status in statuses} == {"user"}
        # In memory too, refused requests do not count for the network.
        others = [await hit(limits, uuid4(), "192.0.2.1") for _ in range(6)]
        assert [status.is_refused for status in others] == [False] * 5 + [True]
        assert others[-1].window.policy.namespace == "address"
        assert 1 <= others[-1].reset_after <= 60


async def test_counting_in_redis_resumes_after_an_outage(
    make_limits: MakeLimits, redis_server: RedisServer, server_home: Path
) -> None:
    limits, other = [await make_limits(10, 1000, url=redis_server.url) for _ in range(2)]
    ada = uuid4()
    with suspended("redis", server_home):
        await hit(limits, ada)
    await eventually(lambda: not limits._breaker.is_open)
    assert (await hit(limits, ada)).remaining == (await hit(other, ada)).remaining + 1


def test_the_number_of_clients_counted_in_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.services.limits.moving_window._MAX_CLIENTS", 10)
    windows = InMemoryMovingWindows()
    one_per_hour = RateLimitItemPerSecond(1, 3600, "address")
    for number in range(100):
        assert not windows.hit_all([Window(one_per_hour, str(number))]).is_refused
    assert windows.hit_all([Window(one_per_hour, "99")]).is_refused
    assert len(windows._storage.events) <= 10 + 1
