"""Event streams during outages of Redis and PostgreSQL."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import auth_main, main
from app.config import Settings
from app.database import migrations
from local.postgres import Postgres
from local.redis import Redis
from tests.chat.streaming.test_streams import LONG, assert_whole
from tests.fixtures.database import Sql
from tests.fixtures.dedicated_servers import PRODUCTION_TIMEOUTS, frozen, stopped
from tests.fixtures.services import User, login, register
from tests.fixtures.streaming import TERMINAL, ChatServer, Reader, serving, text_of
from tests.support.provider import Provider, answers

Replicas = tuple[ChatServer, ChatServer]


@pytest.fixture(scope="module")
def settings(settings: Settings, postgres: Postgres, redis_server: Redis) -> Settings:
    migrations.upgrade(postgres.url())
    return settings.model_copy(
        update={
            "DATABASE_URL": postgres.url(),
            "REDIS_URL": redis_server.url,
            "LLM_ATTEMPT_TIMEOUT": 4.0,
            **PRODUCTION_TIMEOUTS,
        }
    )


@pytest.fixture(scope="module")
def ada(settings: Settings, cheap_passwords: None) -> User:
    with TestClient(auth_main.create(settings)) as auth:
        account, tokens = register(auth, "ada").json(), login(auth, "ada").json()
    return User(account["id"], account["email"], "ada", tokens["access_token"], tokens["refresh_token"])


@pytest.fixture(scope="module")
def replica_urls(settings: Settings) -> Iterator[tuple[str, str]]:
    with serving(main.create(settings)) as first, serving(main.create(settings)) as second:
        yield first, second


@pytest.fixture
def replicas(replica_urls: tuple[str, str], ada: User, provider: Provider) -> Iterator[Replicas]:
    first, second = (ChatServer(url, ada) for url in replica_urls)
    yield first, second
    first.http.close()
    second.http.close()


@pytest.fixture(params=["stopped", "frozen"])
def outage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def redis_unavailable(outage: str, redis_server: Redis, home: Path) -> Iterator[None]:
    with stopped(redis_server) if outage == "stopped" else frozen("redis", home):
        yield


def longest_gap(reader: Reader, count: int) -> float:
    """Read `count` events and return the longest time between two of them."""
    longest, last = 0.0, time.monotonic()
    for _ in islice(reader, count):
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    return longest


def test_redis_outage_does_not_stop_streams_and_storage(
    replicas: Replicas, provider: Provider, redis_server: Redis, own_home: Path, outage: str
) -> None:
    session = replicas[0].open()
    provider.script(answers(LONG, every=0.02))
    with replicas[0].ask(session) as reader:
        events = reader.take(10)
        with redis_unavailable(outage, redis_server, own_home):
            # The delay occurs once, not for each event.
            started = time.monotonic()
            assert longest_gap(reader, 40) < 1
            assert time.monotonic() - started < 5
            stored = replicas[0].wait_for_answer(session)
    assert stored["content"] == LONG
    assert events[0].name == "message.created"
    # A new turn works without Redis, too.
    with redis_unavailable(outage, redis_server, own_home):
        session = replicas[0].open()
        provider.script(answers("a b c", every=0.05))
        events = replicas[0].ask_all(session)
        assert_whole(events, replicas[0].messages(session)[1])


def test_resume_on_another_replica_without_redis_returns_a_snapshot_at_the_end(
    replicas: Replicas, provider: Provider, redis_server: Redis, own_home: Path, outage: str
) -> None:
    session = replicas[0].open()
    provider.script(answers(LONG, every=0.01))
    with replicas[0].ask(session) as reader:
        message = reader.take(5)[0].data["message_id"]
        with redis_unavailable(outage, redis_server, own_home):
            created, *_, snapshot, last = replicas[1].resume_all(session, message)
            assert (created.name, snapshot.name, last.name) == (
                "message.created",
                "message.snapshot",
                "message.completed",
            )
            assert snapshot.data["message"]["content"] == LONG
            # The replica that runs the turn does not need Redis.
            assert text_of(list(reader)).endswith(LONG[-20:])


def test_resume_on_another_replica_works_after_redis_recovers(
    replicas: Replicas, provider: Provider, redis_server: Redis
) -> None:
    session = replicas[0].open()
    provider.script(answers(LONG, every=0.03))
    with replicas[0].ask(session) as reader:
        message = reader.take(5)[0].data["message_id"]
        with stopped(redis_server):
            reader.take(5)
        time.sleep(1.5)  # the circuit breaker probes Redis once a second
        events = replicas[1].resume_all(session, message)
    assert "message.snapshot" not in [event.name for event in events]
    assert_whole(events, replicas[0].messages(session)[1])


def test_postgresql_outage_does_not_stop_streams(replicas: Replicas, provider: Provider, postgres: Postgres) -> None:
    session = replicas[0].open()
    provider.script(answers(LONG, every=0.015))
    with replicas[0].ask(session) as reader:
        events = reader.take(5)
        with replicas[1].resume(session, events[0].data["message_id"]) as other:
            others = other.take(3)
            with stopped(postgres):
                events += reader.take(60)
                others += other.take(30)
            events += list(reader)
            others += list(other)
    assert events[-1].name == others[-1].name == "message.completed"
    assert_whole(events, replicas[0].messages(session)[1])
    assert_whole(others, replicas[0].messages(session)[1])


def test_revocation_ends_streams_without_redis(
    replicas: Replicas, provider: Provider, redis_server: Redis, own_home: Path, postgres: Postgres, outage: str
) -> None:
    session = replicas[0].open()
    provider.script(answers(" ".join("abcdefghij"), every=0.5))
    database = Sql(postgres.url())
    with replicas[0].ask(session) as reader:
        events = reader.take(2)
        with redis_unavailable(outage, redis_server, own_home):
            database.do("UPDATE users SET is_active = false")
            revoked = time.monotonic()
            events += list(reader)
            assert time.monotonic() - revoked < 2
    database.do("UPDATE users SET is_active = true")
    database.close()
    assert events[-1].name not in TERMINAL
    assert replicas[0].wait_for_answer(session)["status"] == "complete"
