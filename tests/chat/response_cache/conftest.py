from collections.abc import Iterator

import pytest
from redis import Redis

from app import main
from app.config import Settings
from local.redis import Redis as RedisServer
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.fixtures.streaming import ChatServer, serving
from tests.support.provider import Provider


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with serving(main.create(settings.model_copy(update={"LLM_CACHE_TTL": 600}))) as url:
        yield url


@pytest.fixture(scope="module")
def dedicated_redis_settings(settings: Settings, redis_server: RedisServer) -> Settings:
    """Settings of a service with a dedicated Redis that tests may suspend, and a short Redis timeout."""
    return settings.model_copy(update={"LLM_CACHE_TTL": 600, "REDIS_URL": redis_server.url, "REDIS_TIMEOUT": 4.0})


@pytest.fixture
def ada_server(url: str, ada: User, sql: Sql, redis: Redis, provider: Provider) -> Iterator[ChatServer]:
    server = ChatServer(url, ada)
    yield server
    server.http.close()


@pytest.fixture
def bob_server(url: str, bob: User) -> Iterator[ChatServer]:
    server = ChatServer(url, bob)
    yield server
    server.http.close()
