"""Event streams during outages of Redis and PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

import pytest
from fastapi.testclient import TestClient

from app import auth_main, main
from app.config import Settings
from app.database import migrations
from local.postgres import Postgres
from local.redis import Redis
from tests.chat.streaming.stream_checks import LONG_TEXT, assert_complete_stream
from tests.fixtures.database import Sql
from tests.fixtures.dedicated_servers import stopped, suspended
from tests.fixtures.services import User, login, register
from tests.fixtures.streaming import TERMINAL, ChatServer, is_buffered, serving, text_of
from tests.support.provider import Provider, answers, chunk, streams_from_queue
from tests.support.waiting import closed_gate, wait_until

Replicas = tuple[ChatServer, ChatServer]
VERY_LONG = " ".join(f"word{number}" for number in range(3000))


@pytest.fixture(scope="module")
def settings(settings: Settings, postgres: Postgres, redis_server: Redis) -> Settings:
    migrations.upgrade(postgres.url())
    return settings.model_copy(
        update={"DATABASE_URL": postgres.url(), "REDIS_URL": redis_server.url, "REDIS_TIMEOUT": 3.0}
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
def replicas(replica_urls: tuple[str, str], ada: User, provider: Provider, redis_server: Redis) -> Iterator[Replicas]:
    """Two replicas, both of which use Redis: an earlier outage is over."""
    first, second = (ChatServer(url, ada) for url in replica_urls)
    for server in (first, second):
        wait_until(lambda server=server: is_buffered(server.ask_all(server.open()), redis_server.url))  # type: ignore[misc]
    provider.reset()
    yield first, second
    first.http.close()
    second.http.close()


@pytest.fixture(params=["stopped", "suspended"])
def outage(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def redis_unavailable(outage: str, redis_server: Redis, home: Path) -> Iterator[None]:
    with stopped(redis_server) if outage == "stopped" else suspended("redis", home):
        yield


def test_redis_outage_does_not_stop_streams_and_storage(
    replicas: Replicas,
    provider: Provider,
    redis_server: Redis,
    server_home: Path,
    outage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session, pieces = replicas[0].open(), SimpleQueue[bytes | None]()
    provider.script(streams_from_queue(pieces))
    with replicas[0].ask(session) as reader:
        pieces.put(chunk("one"))
        events = reader.read_to(3)
        with redis_unavailable(outage, redis_server, server_home):
            for word in (" two", " three", " four"):
                pieces.put(chunk(word))
                events += reader.take(1)
            for last in (chunk(finish_reason="stop"), None):
                pieces.put(last)
            stored = replicas[0].wait_for_answer(session)
            # Redis is waited for once, not for each event.
            assert caplog.messages.count("redis unavailable") == 1
            events += list(reader)
    assert stored["content"] == "one two three four"
    assert_complete_stream(events, stored)
    # A new turn works without Redis, too.
    with redis_unavailable(outage, redis_server, server_home):
        session = replicas[0].open()
        provider.script(answers("a b c", every=0.05))
        events = replicas[0].ask_all(session)
        assert_complete_stream(events, replicas[0].messages(session)[1])


def test_resume_on_another_replica_without_redis_returns_a_snapshot_at_the_end(
    replicas: Replicas, provider: Provider, redis_server: Redis, server_home: Path, outage: str
) -> None:
    session = replicas[0].open()
    with closed_gate() as gate:
        provider.script(answers(LONG_TEXT, every=0.01, end=gate))
        with replicas[0].ask(session) as reader, redis_unavailable(outage, redis_server, server_home):
            started = reader.read_to(20)
            with replicas[1].resume(session, started[0].data["message_id"]) as other:
                others = other.take(1)
                gate.set()
                created, *_, snapshot, last = others + list(other)
            assert (created.name, snapshot.name, last.name) == (
                "message.created",
                "message.snapshot",
                "message.completed",
            )
            assert snapshot.data["message"]["content"] == LONG_TEXT
            # The replica that runs the turn does not need Redis.
            assert text_of([*started, *reader]) == LONG_TEXT


def test_resume_on_another_replica_works_after_redis_recovers(
    replicas: Replicas, provider: Provider, redis_server: Redis
) -> None:
    session = replicas[0].open()
    with closed_gate() as gate:
        provider.script(answers(VERY_LONG, every=0.03, end=gate))
        with replicas[0].ask(session) as reader:
            started = reader.read_to(20)
            message = started[0].data["message_id"]
            with stopped(redis_server):
                reader.read_to(100)
            wait_until(lambda: is_buffered(started, redis_server.url))
            with replicas[1].resume(session, message) as other:
                events = other.read_to(200)
                gate.set()
                events += list(other)
    assert "message.snapshot" not in [event.name for event in events]
    assert_complete_stream(events, replicas[0].messages(session)[1])


def test_postgresql_outage_does_not_stop_streams(replicas: Replicas, provider: Provider, postgres: Postgres) -> None:
    session = replicas[0].open()
    with closed_gate() as gate:
        provider.script(answers(LONG_TEXT, every=0.015, end=gate))
        with replicas[0].ask(session) as reader:
            events = reader.read_to(10)
            with replicas[1].resume(session, events[0].data["message_id"]) as other:
                others = other.read_to(10)
                with stopped(postgres):
                    events += reader.read_to(600)
                    others += other.read_to(600)
                gate.set()
                events += list(reader)
                others += list(other)
    assert events[-1].name == others[-1].name == "message.completed"
    assert_complete_stream(events, replicas[0].messages(session)[1])
    assert_complete_stream(others, replicas[0].messages(session)[1])


def test_revocation_ends_streams_without_redis(
    replicas: Replicas, provider: Provider, redis_server: Redis, server_home: Path, postgres: Postgres, outage: str
) -> None:
    session = replicas[0].open()
    database = Sql(postgres.url())
    with closed_gate() as gate:
        provider.script(answers(" ".join("abcdefghij"), every=0.05, end=gate))
        with replicas[0].ask(session) as reader:
            events = reader.take(2)
            with redis_unavailable(outage, redis_server, server_home):
                database.do("UPDATE users SET is_active = false")
                # The answer does not end before its stream is cut.
                events += list(reader)
    database.do("UPDATE users SET is_active = true")
    database.close()
    assert events[-1].name not in TERMINAL
    assert replicas[0].wait_for_answer(session)["status"] == "complete"
