from collections.abc import AsyncIterator

import pytest
from redis import Redis

from app.config import Settings
from app.services.redis.client import open_redis
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker


@pytest.fixture
async def breaker(
    settings: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RedisCircuitBreaker]:
    """The circuit breaker of an empty real Redis, with a short probe interval."""
    monkeypatch.setattr("app.services.redis.redis_circuit_breaker._PROBE_INTERVAL", 0.05)
    client = open_redis(settings)
    breaker = RedisCircuitBreaker(client, budget=settings.REDIS_TIMEOUT)
    yield breaker
    await breaker.close()
    await client.aclose()
