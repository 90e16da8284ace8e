"""Limit of open event streams per user, over real sockets."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from redis import Redis

from app import main
from app.config import Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.fixtures.streaming import ChatServer, serving
from tests.support.provider import Behaviour, Provider, answers
from tests.support.waiting import closed_gate, wait_until

LIMIT = 3


@pytest.fixture
def slow_answer() -> Iterator[Behaviour]:
    """Answers that continue until the end of the test."""
    with closed_gate() as gate:
        yield answers(" ".join("word" for _ in range(1000)), every=0.1, end=gate)


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    # A short grace period: shutdown does not wait for answers that are still running.
    with serving(main.create(settings.model_copy(update={"STREAMS_PER_USER": LIMIT, "SHUTDOWN_GRACE": 3}))) as url:
        yield url


@pytest.fixture
def connect(url: str, sql: Sql, redis: Redis, provider: Provider) -> Iterator[Callable[[User], ChatServer]]:
    """Function that returns a client of the service for a user."""
    with ExitStack() as stack:

        def connect_as(user: User) -> ChatServer:
            server = ChatServer(url, user)
            stack.callback(server.http.close)
            return server

        yield connect_as


def test_stream_above_the_limit_is_refused_without_calling_a_model(
    connect: Callable[[User], ChatServer], ada: User, bob: User, provider: Provider, slow_answer: Behaviour
) -> None:
    server = connect(ada)
    provider.always(slow_answer)
    session = server.open()
    with server.ask(session) as reader, server.ask(None) as direct:
        (created,) = reader.take(1)
        direct.take(1)
        with server.resume(session, created.data["message_id"]) as resumed:
            resumed.take(1)
            for path in (f"/sessions/{session}/messages/{created.data['message_id']}/events", None):
                response = server.http.get(path) if path else server.http.post("/direct/stream", json={"message": "Hi"})
                problem = response.json()
                assert (response.status_code, problem["code"]) == (429, "too_many_streams")
                assert int(response.headers["Retry-After"]) > 0
            assert len(provider.calls) == 2
            # Other users have their own limit, and requests without a stream do not count.
            with connect(bob).ask(None) as other:
                other.take(1)
            assert server.http.get("/sessions").status_code == 200


@pytest.mark.parametrize("end", ["read", "disconnected", "refused"])
def test_ended_stream_no_longer_counts_towards_the_limit(
    connect: Callable[[User], ChatServer], ada: User, provider: Provider, slow_answer: Behaviour, end: str
) -> None:
    server = connect(ada)
    for _ in range(3 * LIMIT):
        match end:
            case "read":
                provider.script(answers("Yes."))
                assert server.ask_all(None)[-1].name == "message.completed"
            case "disconnected":
                provider.script(slow_answer)
                with server.ask(None) as reader:
                    reader.take(2)
                # The service detects a disconnected client when it sends the next event.
                wait_until(lambda: has_free_slot(server))
            case _:
                assert server.http.post("/direct/stream", json={"message": ""}).status_code == 422
    provider.always(answers("Yes."))
    assert server.ask_all(None)[-1].name == "message.completed"


def has_free_slot(server: ChatServer) -> bool:
    return server.http.post("/direct/stream", json={"message": ""}).status_code == 422
