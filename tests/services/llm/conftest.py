from collections.abc import AsyncIterator

import pytest

from app.config import Settings
from app.services.llm.openai import OpenAIChatModel
from app.services.llm.response_cache import ResponseCache
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from tests.services.llm.openai_attempts import SETTINGS, open_model
from tests.support.provider import Provider


@pytest.fixture
def cache(breaker: RedisCircuitBreaker) -> ResponseCache:
    return ResponseCache(breaker, seconds=60, scope="user")


@pytest.fixture
async def model(provider: Provider) -> AsyncIterator[OpenAIChatModel]:
    settings = Settings.model_validate(SETTINGS | {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "sk-canary"})
    model = open_model(settings)
    yield model
    await model.close()
