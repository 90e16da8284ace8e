"""Streamed requests that are repeated with `Last-Event-ID`: they resume, and never ask again."""

import threading

import pytest
from redis import Redis

from tests.chat.idempotency.idempotent_requests import KEY
from tests.fixtures.database import Sql
from tests.fixtures.services import assert_problem
from tests.fixtures.streaming import ChatServer, Event, Reader, text_of
from tests.support.provider import Provider, answers

TEXT = "One two three, grüß Gott, seven eight."
in_session_and_direct = pytest.mark.parametrize("is_direct", [False, True], ids=["in a session", "direct"])


def path_of(server: ChatServer, *, is_direct: bool) -> str:
    return "/direct/stream" if is_direct else f"/sessions/{server.open()}/messages/stream"


def headers(after: int | None = None) -> dict[str, str]:
    return {"Idempotency-Key": KEY} | ({} if after is None else {"Last-Event-ID": str(after)})


def read(server: ChatServer, path: str, after: int | None = None) -> list[Event]:
    response = server.http.post(path, json={"message": "Hi"}, headers=headers(after))
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "text/event-stream"
    return list(Reader(response))


@in_session_and_direct
def test_running_answer_is_resumed_at_the_position(server: ChatServer, provider: Provider, *, is_direct: bool) -> None:
    gate = threading.Event()
    provider.always(answers(TEXT, end=gate))
    path = path_of(server, is_direct=is_direct)
    with server.http.stream("POST", path, json={"message": "Hi"}, headers=headers()) as response:
        first = Reader(response).read_to(8)
    with server.http.stream("POST", path, json={"message": "Hi"}, headers=headers(first[-1].id)) as response:
        reader = Reader(response)
        gate.set()
        rest = list(reader)
    assert "message.created" not in {event.name for event in rest}
    assert text_of([*first, *rest]) == TEXT
    assert rest[-1].name == "message.completed"
    assert len(provider.calls) == 1


@in_session_and_direct
@pytest.mark.parametrize("after", [0, 5, len(TEXT), len(TEXT) + 1])
def test_complete_answer_is_resumed_at_any_position(
    replicas: tuple[ChatServer, ChatServer], provider: Provider, redis: Redis, sql: Sql, after: int, *, is_direct: bool
) -> None:
    provider.always(answers(TEXT))
    path = path_of(replicas[0], is_direct=is_direct)
    whole = read(replicas[0], path)
    redis.flushall()
    rest = read(replicas[1], path, after)
    assert TEXT[:after] + text_of(rest) == TEXT
    assert [event.name for event in rest if event.name == "message.snapshot"] == []
    assert (rest[-1].name, rest[-1].id) == ("message.completed", whole[-1].id)
    assert len(provider.calls) == 1
    assert sql.value("SELECT count(*) FROM chat_messages") == (0 if is_direct else 2)


@in_session_and_direct
def test_position_without_a_known_key_never_asks(server: ChatServer, provider: Provider, *, is_direct: bool) -> None:
    path = path_of(server, is_direct=is_direct)
    refused = server.http.post(path, json={"message": "Hi"}, headers={"Last-Event-ID": "3"})
    assert_problem(refused, 400, "use_events_to_resume")  # type: ignore[arg-type] # same interface
    unknown = server.http.post(path, json={"message": "Hi"}, headers=headers(3))
    assert_problem(unknown, 404, "idempotency_key_unknown")  # type: ignore[arg-type] # same interface
    read(server, path)
    other = server.http.post(path, json={"message": "Another"}, headers=headers(3))
    assert_problem(other, 422, "idempotency_key_reused")  # type: ignore[arg-type] # same interface
    assert len(provider.calls) == 1


@in_session_and_direct
def test_expired_key_does_not_resume(server: ChatServer, provider: Provider, sql: Sql, *, is_direct: bool) -> None:
    path = path_of(server, is_direct=is_direct)
    read(server, path)
    sql.do("UPDATE idempotency_keys SET expires_at = now()")
    expired = server.http.post(path, json={"message": "Hi"}, headers=headers(3))
    assert_problem(expired, 404, "idempotency_key_unknown")  # type: ignore[arg-type] # same interface
    assert len(provider.calls) == 1


def test_stream_tells_when_to_reconnect(server: ChatServer) -> None:
    body = server.http.post("/direct/stream", json={"message": "Hi"}).text
    assert "\nretry: 1000\n" in body
