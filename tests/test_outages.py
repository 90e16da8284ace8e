"""PostgreSQL and Redis away, frozen and back, under running services."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app import auth_main, main
from app.config import Settings
from app.database import migrations
from local.leftovers import recorded_processes
from local.postgres import Postgres
from local.redis import Redis
from tests.fixtures.servers import temporary_home
from tests.fixtures.services import AUTH, Chat, User, assert_problem, login, register
from tests.provider import Provider, answers


@pytest.fixture(autouse=True)
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let health checks look again soon."""
    monkeypatch.setattr("app.health.CACHE_SECONDS", 0.1)


@pytest.fixture(scope="module")
def own_home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


@pytest.fixture(scope="module")
def postgres(own_home: Path) -> Iterator[Postgres]:
    server = Postgres(own_home, options={"fsync": "off"})
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def redis_server(own_home: Path, redis_url: str) -> Iterator[Redis]:
    server = Redis(own_home)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def settings(settings: Settings, postgres: Postgres, redis_server: Redis) -> Settings:
    migrations.upgrade(postgres.url())
    return settings.model_copy(
        update={"DATABASE_URL": postgres.url(), "REDIS_URL": redis_server.url, "LLM_ATTEMPT_TIMEOUT": 4.0}
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


def wait_for_health(client: TestClient, status: str) -> None:
    deadline = time.monotonic() + 5
    while client.get("/health").json()["status"] != status:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def within(seconds: float, action: Callable[[], object]) -> None:
    started = time.monotonic()
    action()
    assert time.monotonic() - started < seconds


def test_health_says_what_the_service_is_and_how_it_does(auth: TestClient, chat: Chat) -> None:
    wait_for_health(auth, "healthy")
    checks = {"database": "up", "redis": "up"}
    common = {"status": "healthy", "version": "1.0.0", "checks": checks}
    assert auth.get("/health").json() == common | {"service": "auth-service"}
    wait_for_health(chat.client, "healthy")
    assert chat.client.get("/health").json() == common | {"service": "chat-service", "graph_ready": True}
    assert chat.client.get("/readyz").status_code == 200
    assert chat.client.get("/livez").json() == {"status": "alive"}


def test_without_redis_everything_works(chat: Chat, auth: TestClient, redis_server: Redis) -> None:
    session = chat.open()
    redis_server.stop()
    try:
        wait_for_health(chat.client, "degraded")
        assert chat.client.get("/health").status_code == 200
        assert chat.client.get("/readyz").status_code == 200
        within(2, lambda: chat.ask(session, "Hi"))
        assert login(auth, "ada").status_code == 200
    finally:
        redis_server.start()
    wait_for_health(chat.client, "healthy")


@pytest.mark.usefixtures("redis_server")
def test_a_frozen_redis_delays_nobody_for_long(chat: Chat, own_home: Path) -> None:
    session = chat.open()
    process = psutil.Process(recorded_processes(own_home)["redis"].pid)
    process.suspend()
    try:
        time.sleep(0.2)  # the last look at it was good for so long
        within(1, lambda: chat.client.get("/health"))
        assert chat.client.get("/health").json()["checks"]["redis"] == "down"
        within(1, lambda: chat.ask(session, "Hi"))
    finally:
        process.resume()
    wait_for_health(chat.client, "healthy")


def test_without_postgresql_there_is_a_503_soon_and_recovery_by_itself(
    chat: Chat, auth: TestClient, postgres: Postgres
) -> None:
    session = chat.open()
    postgres.stop()
    try:
        for _ in range(3):
            for response in (
                _timed(lambda: chat.request("GET", "/sessions")),
                _timed(lambda: chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi"})),
                _timed(lambda: auth.get(f"{AUTH}/me", headers=chat.user.headers)),
                _timed(lambda: login(auth, "ada")),
                _timed(lambda: register(auth, "eve")),
            ):
                assert_problem(response, 503, "database_unavailable")
                assert int(response.headers["Retry-After"]) > 0
        for client in (chat.client, auth):
            wait_for_health(client, "unhealthy")
            assert client.get("/health").status_code == 503
            assert client.get("/readyz").status_code == 503
            assert client.get("/livez").status_code == 200
    finally:
        postgres.start()
    assert chat.request("GET", "/sessions").status_code == 200  # and nobody is logged out
    assert chat.ask(session, "Hi")["ai_response"]["status"] == "complete"
    wait_for_health(chat.client, "healthy")


def test_a_frozen_postgresql_is_a_503_within_two_seconds(chat: Chat, auth: TestClient, own_home: Path) -> None:
    session = chat.open()
    server = psutil.Process(recorded_processes(own_home)["postgres"].pid)
    frozen = [server, *server.children(recursive=True)]
    for process in frozen:
        process.suspend()
    try:
        requests: list[Callable[[], Response]] = [
            lambda: register(auth, "eve"),
            lambda: login(auth, "ada"),
            lambda: chat.request("GET", "/sessions"),
            lambda: chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi"}),
        ]
        for request in requests:
            started = time.monotonic()
            assert_problem(request(), 503, "database_unavailable")
            assert time.monotonic() - started < 2
        assert chat.client.get("/livez").status_code == 200
    finally:
        for process in reversed(frozen):
            process.resume()
    wait_for_health(chat.client, "healthy")
    assert chat.ask(chat.open(), "Hi")["ai_response"]["status"] == "complete"


def test_an_answer_waits_for_postgresql_to_come_back(chat: Chat, postgres: Postgres, provider: Provider) -> None:
    session = chat.open()
    provider.script(answers("Hello.", first_after=0.7))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(chat.ask, session, "Hi")
        provider.wait_for_calls(1)
        postgres.stop()
        time.sleep(2)  # the model has answered meanwhile
        postgres.start()
        assert asked.result(timeout=20)["ai_response"]["status"] == "complete"
    assert len(provider.calls) == 1
    messages = chat.request("GET", f"/sessions/{session}").json()["messages"]
    assert [message["content"] for message in messages] == ["Hi", "Hello."]


def test_a_killed_postgresql_loses_nothing_that_was_answered(chat: Chat, postgres: Postgres, own_home: Path) -> None:
    session = chat.open()
    chat.ask(session, "remember this")
    psutil.Process(recorded_processes(own_home)["postgres"].pid).kill()
    postgres.stop()
    postgres.start()
    contents = [message["content"] for message in chat.request("GET", f"/sessions/{session}").json()["messages"]]
    assert contents == ["remember this", "Hello."]


def test_a_service_waits_for_postgresql_to_come_up(settings: Settings, postgres: Postgres) -> None:
    postgres.stop()

    def serve() -> int:
        with TestClient(auth_main.create(settings)) as client:
            return client.get("/readyz").status_code

    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(serve)
        time.sleep(0.5)
        assert not started.done()
        postgres.start()
        assert started.result(timeout=20) == 200


def _timed(request: Callable[[], Response]) -> Response:
    started = time.monotonic()
    response = request()
    assert time.monotonic() - started < 2
    return response
