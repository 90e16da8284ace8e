"""The windows in Redis and in memory give the same answers to the same requests."""

import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute

from app.services.limits.moving_window import InMemoryMovingWindows, LimitStatus, RedisMovingWindows, Window

ACCOUNT, NETWORK = RateLimitItemPerMinute(3), RateLimitItemPerMinute(5)


def comparable(status: LimitStatus) -> tuple[object, ...]:
    return status.window, status.is_refused, status.remaining, status.reset_after >= 1, status.reset_after <= 60


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(["", "a", "b"]), st.sampled_from(["", "x", "y"])), max_size=15))
async def test_twins_agree(redis_url: str, requests: list[tuple[str, str]]) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        await client.flushdb()
        shared, local = RedisMovingWindows(client), InMemoryMovingWindows()
        for account, network in requests:
            windows = [
                *([Window(ACCOUNT, account)] if account else []),
                *([Window(NETWORK, network)] if network else []),
            ]
            if windows:
                assert comparable(await shared.hit_all(windows)) == comparable(local.hit_all(windows))
