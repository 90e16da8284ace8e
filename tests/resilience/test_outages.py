"""Outages of PostgreSQL and Redis: stopped, suspended, killed and restarted under running services."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastapi.testclient import TestClient
from httpx2 import Client, RemoteProtocolError, Response

from app import auth_main, main
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.core.security import hash_token
from app.database import migrations
from app.database.repositories.accounts import auth_sessions
from local.orphans import recorded_processes
from local.postgres import Postgres
from local.redis import Redis
from local.services import Service
from tests.fixtures.database import Sql
from tests.fixtures.dedicated_servers import stopped, suspended
from tests.fixtures.processes import WorkerProcess, environment, free_port
from tests.fixtures.services import AUTH, Chat, User, assert_problem, login, register
from tests.support.provider import Provider, held
from tests.support.request_timeout import production_request_timeout
from tests.support.waiting import closed_gate, wait_until


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


def wait_for_health(client: TestClient, status: str) -> None:
    wait_until(lambda: client.get("/health").json()["status"] == status)


def redis_outages(client: TestClient) -> int:
    """Return how often the service has waited for a Redis that did not respond, once it uses Redis again."""
    breaker = client.app_state["resources"].breaker
    wait_until(lambda: not breaker.is_open)
    return int(breaker.outages)


def test_health_reports_service_and_checks(auth: TestClient, chat: Chat) -> None:
    wait_for_health(auth, "healthy")
    checks = {"database": "up", "redis": "up"}
    common = {"status": "healthy", "version": "1.0.0", "checks": checks}
    assert auth.get("/health").json() == common | {"service": "auth-service"}
    wait_for_health(chat.client, "healthy")
    assert chat.client.get("/health").json() == common | {"service": "chat-service", "graph_ready": True}
    assert chat.client.get("/readyz").status_code == 200
    assert chat.client.get("/livez").json() == {"status": "alive"}


def test_services_work_without_redis(chat: Chat, auth: TestClient, redis_server: Redis) -> None:
    session, before = chat.open(), redis_outages(chat.client)
    redis_server.stop()
    try:
        wait_for_health(chat.client, "degraded")
        assert chat.client.get("/health").status_code == 200
        assert chat.client.get("/readyz").status_code == 200
        for _ in range(3):
            chat.ask(session, "Hi")
        assert login(auth, "ada").status_code == 200
    finally:
        redis_server.start()
    wait_for_health(chat.client, "healthy")
    assert redis_outages(chat.client) == before + 1


@pytest.mark.usefixtures("redis_server")
def test_suspended_redis_delays_requests_once(chat: Chat, server_home: Path) -> None:
    session, before = chat.open(), redis_outages(chat.client)
    with suspended("redis", server_home):
        time.sleep(0.2)  # longer than the cache of health checks
        assert chat.client.get("/health").json()["checks"]["redis"] == "down"
        for _ in range(3):
            chat.ask(session, "Hi")
    wait_for_health(chat.client, "healthy")
    assert redis_outages(chat.client) == before + 1


def test_postgresql_outage_returns_503_and_recovers(chat: Chat, auth: TestClient, postgres: Postgres) -> None:
    session = chat.open()
    postgres.stop()
    try:
        for _ in range(3):
            for response in (
                chat.request("GET", "/sessions"),
                chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi"}),
                auth.get(f"{AUTH}/me", headers=chat.user.headers),
                login(auth, "ada"),
                register(auth, "eve"),
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
    assert chat.request("GET", "/sessions").status_code == 200  # logins are still valid
    assert chat.ask(session, "Hi")["ai_response"]["status"] == "complete"
    wait_for_health(chat.client, "healthy")


def test_suspended_postgresql_returns_503(chat: Chat, auth: TestClient, server_home: Path) -> None:
    session = chat.open()
    requests: list[Callable[[], Response]] = [
        lambda: register(auth, "eve"),
        lambda: login(auth, "ada"),
        lambda: chat.request("GET", "/sessions"),
        lambda: chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi"}),
    ]
    with suspended("postgres", server_home), production_request_timeout(), ThreadPoolExecutor(len(requests)) as pool:
        for response in pool.map(lambda request: request(), requests):
            assert_problem(response, 503, "database_unavailable")
        assert chat.client.get("/livez").status_code == 200
    wait_for_health(chat.client, "healthy")
    assert chat.ask(chat.open(), "Hi")["ai_response"]["status"] == "complete"


def test_answer_is_stored_after_postgresql_restarts(chat: Chat, postgres: Postgres, provider: Provider) -> None:
    session = chat.open()
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        asked = pool.submit(chat.ask, session, "Hi")
        provider.wait_for_calls(1)
        with stopped(postgres):
            gate.set()
            wait_until(lambda: provider.calls[0].finished)
            time.sleep(0.5)  # storing the answer fails
        assert asked.result()["ai_response"]["status"] == "complete"
    assert len(provider.calls) == 1
    messages = chat.request("GET", f"/sessions/{session}").json()["messages"]
    assert [message["content"] for message in messages] == ["Hi", "Hello."]


def test_killed_postgresql_loses_no_stored_answer(chat: Chat, postgres: Postgres, server_home: Path) -> None:
    session = chat.open()
    chat.ask(session, "remember this")
    psutil.Process(recorded_processes(server_home)["postgres"].pid).kill()
    postgres.stop()
    postgres.start()
    contents = [message["content"] for message in chat.request("GET", f"/sessions/{session}").json()["messages"]]
    assert contents == ["remember this", "Hello."]


def test_starting_service_waits_for_postgresql(settings: Settings, postgres: Postgres) -> None:
    postgres.stop()

    def serve() -> int:
        with TestClient(auth_main.create(settings)) as client:
            return client.get("/readyz").status_code

    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(serve)
        time.sleep(0.5)
        assert not started.done()
        postgres.start()
        assert started.result() == 200


@pytest.mark.parametrize("redis_is", ["up", "suspended", "emptied", "down"])
def test_logout_takes_effect_immediately_in_any_state_of_redis(
    chat: Chat, auth: TestClient, redis_server: Redis, server_home: Path, redis_is: str
) -> None:
    tokens = login(auth, "ada").json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert chat.client.get("/api/v1/chat/sessions", headers=headers).status_code == 200
    if redis_is == "emptied":
        redis_server.stop()
        redis_server.start()
    state = {"suspended": suspended("redis", server_home), "down": stopped(redis_server)}
    with state.get(redis_is, nullcontext()):
        assert auth.post(f"{AUTH}/logout", headers=headers).status_code == 200
        for client, path in ((auth, f"{AUTH}/me"), (chat.client, "/api/v1/chat/sessions")):
            assert_problem(client.get(path, headers=headers), 401, "unauthorized")
        refreshed = auth.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert_problem(refreshed, 401, "invalid_refresh_token")
    assert_problem(auth.get(f"{AUTH}/me", headers=headers), 401, "unauthorized")


def test_refresh_interrupted_by_postgresql_can_be_repeated(
    auth: TestClient, ada: User, postgres: Postgres, server_home: Path
) -> None:
    """A stopped or suspended PostgreSQL extends the grace period in which a used refresh token is accepted again."""
    token = login(auth, "ada").json()["refresh_token"]

    def refresh() -> Response:
        return auth.post(f"{AUTH}/refresh", json={"refresh_token": token})

    with suspended("postgres", server_home), production_request_timeout():
        assert_problem(refresh(), 503, "database_unavailable")
        time.sleep(2)  # together with the request, longer than the grace period
    wait_for_health(auth, "healthy")
    token = _renewed(refresh())

    for stop_seconds in (0.0, 0.5):
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(refresh) for _ in range(4)]
            postgres.stop()
            time.sleep(stop_seconds)
            postgres.start()
            statuses = {answer.result().status_code for answer in answers}
        assert statuses <= {200, 503}
        token = _renewed(refresh())


def test_unconfirmed_refresh_can_be_repeated_for_ten_seconds_after_recovery(
    auth: TestClient, ada: User, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = login(auth, "ada").json()["refresh_token"]
    rotate = auth_sessions.rotate

    async def rotate_then_fail(*arguments: Any, **named: Any) -> None:  # noqa: ANN401 - passed on
        await rotate(*arguments, **named)
        raise DatabaseUnavailableError

    monkeypatch.setattr(auth_sessions, "rotate", rotate_then_fail)
    assert_problem(auth.post(f"{AUTH}/refresh", json={"refresh_token": token}), 503)
    monkeypatch.undo()
    sql = Sql(postgres.url())
    recent = "SELECT now() - rotated_at < interval '5 seconds' FROM auth_sessions WHERE previous_token_hash = %s"
    sql.do("UPDATE auth_sessions SET rotated_at = now() - interval '1 minute'")
    postgres.stop()
    sql.close()
    assert_problem(auth.post(f"{AUTH}/refresh", json={"refresh_token": token}), 503)
    postgres.start()
    sql = Sql(postgres.url())
    wait_until(lambda: sql.value(recent, [hash_token(token)]))
    sql.close()
    _renewed(auth.post(f"{AUTH}/refresh", json={"refresh_token": token}))


def test_export_interrupted_by_postgresql_is_an_incomplete_transfer(
    auth: TestClient, settings: Settings, postgres: Postgres, server_home: Path
) -> None:
    account, tokens = register(auth, "exporter").json(), login(auth, "exporter").json()
    sql = Sql(postgres.url())
    sql.do(
        """
        WITH made AS (
            INSERT INTO chat_sessions (uuid, user_id, title, message_count, last_seq)
            SELECT gen_random_uuid(), id, 'long', 4000, 4000 FROM users WHERE uuid = %s RETURNING id
        )
        INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
        SELECT gen_random_uuid(), id, seq, 'user', repeat('x', 10000), 'complete'
        FROM made, generate_series(1, 4000) AS seq
        """,
        [account["id"]],
    )
    sql.close()
    port = free_port()
    service = Service("an-auth-service", "app.auth_main:app", port, server_home, environment(settings))
    service.start()
    document = b""
    try:
        with (
            Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client,
            client.stream(
                "GET", f"{AUTH}/me/export", headers={"Authorization": f"Bearer {tokens['access_token']}"}
            ) as response,
        ):
            assert response.status_code == 200
            chunks = response.iter_raw()
            document += next(chunks)
            postgres.stop()
            with pytest.raises(RemoteProtocolError):
                document += b"".join(chunks)
    finally:
        service.stop()
        postgres.start()
    assert document.startswith(b'{"exported_at":')
    assert not document.rstrip().endswith(b"}]}")


def _renewed(response: Response) -> str:
    assert response.status_code == 200, response.text
    return str(response.json()["refresh_token"])


def test_worker_waits_for_postgresql_and_recovers(
    chat: Chat, settings: Settings, server_home: Path, postgres: Postgres
) -> None:
    worker = WorkerProcess(settings, server_home)
    try:
        worker.wait_for("worker started")
        before = len(worker.log_lines())
        with stopped(postgres):
            wait_until(lambda: "job waiting for database" in messages(worker, before))
        wait_until(lambda: "job recovered" in messages(worker, before))
        assert worker.exit_code() is None
        sql = Sql(postgres.url())
        answer = chat.ask(chat.open(), "Hi")["ai_response"]["id"]
        sql.do("UPDATE chat_messages SET status = 'pending', lease_expires_at = now() WHERE uuid = %s", [answer])
        status = "SELECT status FROM chat_messages WHERE uuid = %s"
        Provider.wait_until(lambda: sql.value(status, [answer]) == "interrupted")
        sql.close()
        # A job says so once for each outage, however often it tries again.
        for job in {line["job"] for line in worker.log_lines() if "job" in line}:
            said = [message for message in messages(worker, 0, job) if message in OUTAGE_MESSAGES]
            assert said[::2] == ["job waiting for database"] * len(said[::2])
            assert said[1::2] == ["job recovered"] * len(said[1::2])
    finally:
        worker.stop()


OUTAGE_MESSAGES = ("job waiting for database", "job recovered")


def messages(worker: WorkerProcess, first: int, job: str | None = None) -> list[str]:
    """Return the messages that a worker has logged since a line, those about all jobs or one."""
    lines = worker.log_lines()[first:]
    return [str(line["message"]) for line in lines if job is None or line.get("job") == job]
