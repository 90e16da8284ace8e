"""Delays with the timeouts of production. They depend on the machine, so they are measured at full size only."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus
from pathlib import Path
from queue import SimpleQueue

import httpx
import pytest
from redis import Redis as RedisClient

from app.config import Settings
from app.core.security import hash_token, new_api_key
from app.http.health import CACHE_SECONDS
from local.postgres import Postgres
from local.redis import Redis
from local.services import Service
from tests.drills import FULL_SIZE
from tests.drills.conftest import Report
from tests.drills.replicas import Replica
from tests.fixtures.database import Sql
from tests.fixtures.dedicated_servers import PRODUCTION_TIMEOUTS, stopped, suspended
from tests.fixtures.processes import environment, free_port
from tests.fixtures.services import AUTH, CHAT, PASSWORD, User
from tests.fixtures.streaming import TERMINAL, ChatServer, Event, is_buffered
from tests.support.provider import Provider, answers, chunk, streams, streams_from_queue
from tests.support.waiting import closed_gate, wait_until

pytestmark = pytest.mark.skipif(not FULL_SIZE, reason="measures the machine, see `make drills`")

GRACE = 6.0
REVOKE = {
    "login": "UPDATE auth_sessions SET revoked_at = now(), revoked_reason = 'logout' FROM users"
    " WHERE users.id = user_id AND users.uuid = %s",
    "API key": "DELETE FROM api_keys USING users WHERE users.id = user_id AND users.uuid = %s",
}


@pytest.fixture(scope="module")
def production(settings: Settings) -> Settings:
    return settings.model_copy(update=PRODUCTION_TIMEOUTS)


@pytest.fixture(scope="module")
def measured_replicas(production: Settings, server_home: Path) -> Iterator[list[Replica]]:
    replicas = [Replica(production, server_home, f"chat-delays-{number}") for number in range(2)]
    for replica in replicas:
        replica.start()
    yield replicas
    for replica in replicas:
        replica.stop()


@pytest.fixture(scope="module")
def auth_url(production: Settings, server_home: Path) -> Iterator[str]:
    port = free_port()
    service = Service("auth-delays", "app.auth_main:app", port, server_home, environment(production))
    service.start()
    yield f"http://127.0.0.1:{port}"
    service.stop()


@pytest.fixture
def user(make_users: Callable[[int], list[User]]) -> User:
    return make_users(1)[0]


@pytest.fixture
def servers(
    measured_replicas: list[Replica], user: User, provider: Provider, redis_server: Redis
) -> Iterator[list[ChatServer]]:
    """Clients of two replicas, both of which use PostgreSQL and Redis: an earlier outage is over."""
    servers = [ChatServer(replica.url, user) for replica in measured_replicas]
    for server in servers:
        wait_until(lambda server=server: is_buffered(server.ask_all(server.open()), redis_server.url))  # type: ignore[misc]
    provider.reset()
    yield servers
    for server in servers:
        server.http.close()


@contextmanager
def completes_within(seconds: float) -> Iterator[None]:
    """Assert that the block takes less than this."""
    started = time.monotonic()
    yield
    duration = time.monotonic() - started
    assert duration < seconds


def health(url: str) -> dict[str, object]:
    return dict(httpx.get(f"{url}/health", trust_env=False).json())


def redis_in_state(name: str, redis_server: Redis, home: Path) -> AbstractContextManager[None]:
    if name == "emptied":
        with RedisClient.from_url(redis_server.url) as client:
            client.flushall()
    states = {"suspended": suspended("redis", home), "stopped": stopped(redis_server)}
    return states.get(name, nullcontext())


@pytest.mark.parametrize("outage", ["stopped", "suspended"])
def test_postgresql_outage_returns_503_within_two_seconds(
    servers: list[ChatServer], auth_url: str, user: User, postgres: Postgres, server_home: Path, outage: str
) -> None:
    session = servers[0].open()
    with httpx.Client(base_url=f"{auth_url}{AUTH}", timeout=60, trust_env=False) as auth:
        account = {"email": "eve@example.com", "username": "eve", "password": PASSWORD}
        requests: list[Callable[[], httpx.Response]] = [
            lambda: servers[0].http.get("/sessions"),
            lambda: servers[0].http.post(f"/sessions/{session}/messages", json={"message": "Hi"}),
            lambda: auth.get("/me", headers=user.headers),
            lambda: auth.post("/login", data={"username": user.username, "password": PASSWORD}),
            lambda: auth.post("/register", json=account),
        ]
        with stopped(postgres) if outage == "stopped" else suspended("postgres", server_home):
            for request in requests:
                with completes_within(2):
                    response = request()
                assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
        wait_until(lambda: servers[0].http.get("/sessions").status_code == HTTPStatus.OK)


def test_suspended_redis_delays_requests_by_less_than_a_second(
    servers: list[ChatServer], measured_replicas: list[Replica], server_home: Path
) -> None:
    session = servers[0].open()
    with suspended("redis", server_home):
        for _ in range(3):
            with completes_within(1):
                servers[0].http.post(f"/sessions/{session}/messages", json={"message": "Hi"}).raise_for_status()
        time.sleep(CACHE_SECONDS)
        with completes_within(1):
            assert health(measured_replicas[1].url)["status"] == "degraded"


@pytest.mark.parametrize("state", ["up", "suspended", "emptied", "stopped"])
def test_logout_takes_effect_within_two_seconds(
    servers: list[ChatServer], auth_url: str, user: User, redis_server: Redis, server_home: Path, state: str
) -> None:
    with httpx.Client(base_url=f"{auth_url}{AUTH}", timeout=60, trust_env=False) as auth:
        form = {"username": user.username, "password": PASSWORD}
        tokens = auth.post("/login", data=form).raise_for_status().json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert servers[0].http.get("/sessions", headers=headers).status_code == 200
        with redis_in_state(state, redis_server, server_home), completes_within(2):
            assert auth.post("/logout", headers=headers).status_code == 200
            assert auth.get("/me", headers=headers).status_code == 401
            assert servers[0].http.get("/sessions", headers=headers).status_code == 401


@pytest.mark.parametrize("credential", REVOKE)
@pytest.mark.parametrize("state", ["up", "suspended", "stopped"])
def test_revocation_ends_streams_within_two_seconds(
    servers: list[ChatServer],
    user: User,
    provider: Provider,
    sql: Sql,
    redis_server: Redis,
    server_home: Path,
    state: str,
    credential: str,
    report: Report,
) -> None:
    if credential == "API key":
        key = new_api_key()
        sql.do(
            "INSERT INTO api_keys (uuid, user_id, name, prefix, token_hash, scopes)"
            " SELECT gen_random_uuid(), id, 'test', %s, %s, ARRAY['chat:read', 'chat:write'] FROM users"
            " WHERE uuid = %s",
            [key[:12], hash_token(key), user.id],
        )
        for server in servers:
            server.http.headers["Authorization"] = f"Bearer {key}"
    with closed_gate() as gate:
        provider.always(answers("a b c d", end=gate))
        session = servers[0].open()
        with (
            servers[0].ask(session) as reader,
            servers[0].ask(None) as direct,
            ThreadPoolExecutor(3) as pool,
        ):
            message = reader.read_to(1)[0].data["message_id"]
            direct.read_to(1)
            with servers[1].resume(session, message) as other:
                other.read_to(1)
                with redis_in_state(state, redis_server, server_home):
                    started = time.monotonic()
                    sql.do(REVOKE[credential], [user.id])
                    rests = list(pool.map(list[Event], (reader, direct, other)))
                    duration = time.monotonic() - started
    assert not {event.name for rest in rests for event in rest} & TERMINAL
    assert duration < 2
    report(streams_ended_after=f"{duration:.2f} s")


def test_follower_on_another_replica_receives_a_piece_within_300_milliseconds(
    servers: list[ChatServer], provider: Provider, report: Report
) -> None:
    pieces = SimpleQueue[bytes | None]()
    provider.script(streams_from_queue(pieces))
    session = servers[0].open()
    delays = []
    with servers[0].ask(session) as reader:
        pieces.put(chunk("first"))
        message = reader.take(2)[0].data["message_id"]
        with servers[1].resume(session, message) as other:
            other.read_to(len("first"))
            for _ in range(20):
                time.sleep(0.2)
                pieces.put(chunk("more"))
                started = time.monotonic()
                other.take(1)
                delays.append(time.monotonic() - started)
            for last in (chunk(finish_reason="stop"), None):
                pieces.put(last)
            assert list(other)[-1].name == "message.completed"
    assert max(delays) < 0.3
    report(median=f"{sorted(delays)[10]:.3f} s", longest=f"{max(delays):.3f} s")


@pytest.fixture
def stopping(production: Settings, server_home: Path, provider: Provider) -> Iterator[Replica]:
    replica = Replica(production.model_copy(update={"SHUTDOWN_GRACE": GRACE}), server_home, "chat-stopping")
    replica.start()
    yield replica
    replica.stop()


def test_shutdown_with_twenty_streams_takes_no_longer_than_the_grace_period(
    stopping: Replica, user: User, provider: Provider, report: Report
) -> None:
    provider.always(streams(chunk("Once upon"), hold=True))
    server = ChatServer(stopping.url, user)
    with ThreadPoolExecutor(20) as pool:
        reads = [pool.submit(server.ask_all, server.open()) for _ in range(20)]
        provider.wait_for_calls(20)
        time.sleep(0.5)
        process = stopping.process
        started = time.monotonic()
        process.terminate()
        while (status := httpx.get(f"{stopping.url}/readyz", trust_env=False).status_code) == HTTPStatus.OK:
            time.sleep(0.02)
        notice = time.monotonic() - started
        assert (status, notice < 1 / 2) == (503, True)
        ends = [read.result()[-1] for read in reads]
        process.wait(timeout=60)
        duration = time.monotonic() - started
    server.http.close()
    assert {(end.name, end.data["code"]) for end in ends} == {("message.failed", "shutting_down")}
    assert duration < GRACE + 1
    report(not_ready_after=f"{notice:.2f} s", ended_after=f"{duration:.2f} s")


def test_idle_service_stops_within_three_seconds(stopping: Replica, user: User) -> None:
    assert httpx.get(f"{stopping.url}{CHAT}/sessions", headers=user.headers, trust_env=False).status_code == 200
    process = stopping.process
    process.terminate()
    with completes_within(3):
        process.wait(timeout=60)
