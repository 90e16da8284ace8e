from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from app import auth_main, main
from app.config import Settings
from app.database import migrations
from local.postgres import Postgres
from local.redis import Redis
from tests.fixtures.services import Chat, User, login, register
from tests.support.provider import Provider


@pytest.fixture(autouse=True)
def short_health_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the cache of health checks."""
    monkeypatch.setattr("app.http.health.CACHE_SECONDS", 0.1)


@pytest.fixture(scope="module")
def settings(settings: Settings, postgres: Postgres, redis_server: Redis) -> Settings:
    migrations.upgrade(postgres.url())
    return settings.model_copy(
        update={"DATABASE_URL": postgres.url(), "REDIS_URL": redis_server.url, "REDIS_TIMEOUT": 3.0}
    )


@pytest.fixture(scope="module")
def auth(settings: Settings, cheap_passwords: None) -> Iterator[TestClient]:
    with TestClient(auth_main.create(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def chat_service(settings: Settings) -> Iterator[TestClient]:
    with TestClient(main.create(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def ada(auth: TestClient) -> User:
    account = register(auth, "ada").json()
    tokens = login(auth, "ada").json()
    return User(account["id"], account["email"], "ada", tokens["access_token"], tokens["refresh_token"])


@pytest.fixture
def chat(chat_service: TestClient, ada: User, provider: Provider) -> Chat:
    return Chat(chat_service, ada)
