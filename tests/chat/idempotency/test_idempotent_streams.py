"""Event streams with an `Idempotency-Key`: repeated requests return the same answer."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from redis import Redis

from tests.chat.idempotency.idempotent_requests import KEY, uses_idempotency_keys
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.processes import ChatProcess
from tests.fixtures.services import assert_problem
from tests.fixtures.streaming import ChatServer, Event, Reader, text_of
from tests.support.provider import Provider, answers, chunk, fails, held, streams
from tests.support.waiting import closed_gate, wait_until


def path_of(server: ChatServer, *, is_direct: bool) -> str:
    return "/direct/stream" if is_direct else f"/sessions/{server.open()}/messages/stream"


def post(server: ChatServer, path: str, message: str = "Hi", key: str = KEY) -> httpx.Response:
    return server.http.post(path, json={"message": message}, headers={"Idempotency-Key": key})


def events_of(response: httpx.Response) -> list[Event]:
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("text/event-stream")
    return list(Reader(response))


in_session_and_direct = pytest.mark.parametrize("is_direct", [False, True], ids=["in a session", "direct"])


@in_session_and_direct
def test_repeated_stream_request_replays_the_answer_in_one_delta(
    replicas: tuple[ChatServer, ChatServer], provider: Provider, redis: Redis, *, is_direct: bool
) -> None:
    provider.always(answers("One two three, grüß Gott.", every=0.03))
    path = path_of(replicas[0], is_direct=is_direct)
    first_response = post(replicas[0], path)
    assert "Idempotent-Replayed" not in first_response.headers
    first = events_of(first_response)
    redis.flushall()
    for server in replicas:
        response = post(server, path)
        assert response.headers["Idempotent-Replayed"] == "true"
        again = events_of(response)
        assert [event.name for event in again] == ["message.created", "message.delta", "message.completed"]
        assert text_of(again) == text_of(first) == "One two three, grüß Gott."
        assert again[0] == first[0]
        assert again[-1].id == first[-1].id
        for name in ("length", "sha256"):
            assert again[-1].data[name] == first[-1].data[name]
        assert again[-1].data["message"] | {"timestamp": ""} == first[-1].data["message"] | {"timestamp": ""}
        assert response.content == post(server, path).content
    assert len(provider.calls) == 1


@in_session_and_direct
def test_key_reused_or_in_progress_is_refused_before_the_stream_starts(
    server: ChatServer, provider: Provider, *, is_direct: bool
) -> None:
    path = path_of(server, is_direct=is_direct)
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.always(answers("One two three four.", end=gate))
        future = pool.submit(post, server, path)
        provider.wait_for_calls(1)
        problem = assert_problem(post(server, path), 409, "idempotency_in_progress")  # type: ignore[arg-type] # same interface
        gate.set()
        first = events_of(future.result())
    if not is_direct:
        assert problem["message_id"] == first[0].data["message_id"]
    assert_problem(post(server, path, "Another"), 422, "idempotency_key_reused")  # type: ignore[arg-type] # same interface
    assert len(provider.calls) == 1


@in_session_and_direct
def test_20_concurrent_streams_with_one_key_call_the_model_once(
    replicas: tuple[ChatServer, ChatServer], provider: Provider, *, is_direct: bool
) -> None:
    path = path_of(replicas[0], is_direct=is_direct)
    with ThreadPoolExecutor(20) as pool, closed_gate() as gate:
        provider.always(held(gate))
        futures = [pool.submit(post, replicas[number % 2], path) for number in range(20)]
        wait_until(lambda: sum(future.done() for future in futures) == 19)
        gate.set()
        responses = [future.result() for future in futures]
    streamed = [events_of(response) for response in responses if response.status_code == 200]
    assert streamed
    assert {text_of(events) for events in streamed} == {"Hello."}
    assert {response.status_code for response in responses} <= {200, 409}
    assert len(provider.calls) == 1


@in_session_and_direct
def test_disconnected_client_gets_the_whole_answer_with_its_key(
    server: ChatServer, provider: Provider, sql: Sql, *, is_direct: bool
) -> None:
    path = path_of(server, is_direct=is_direct)
    with closed_gate() as gate:
        provider.always(answers("One two three four five six seven eight.", end=gate))
        with server.http.stream("POST", path, json={"message": "Hi"}, headers={"Idempotency-Key": KEY}) as response:
            Reader(response).take(2)
    provider.wait_until(lambda: sql.value("SELECT count(*) FROM llm_calls") == 1)
    assert text_of(events_of(post(server, path))) == "One two three four five six seven eight."
    assert len(provider.calls) == 1


@in_session_and_direct
def test_failed_stream_is_replayed_as_failed(server: ChatServer, provider: Provider, *, is_direct: bool) -> None:
    provider.always(fails(401))
    path = path_of(server, is_direct=is_direct)
    first = events_of(post(server, path))
    provider.always(answers("Hello."))
    again = events_of(post(server, path))
    assert (again[-1].name, again[-1].data["code"]) == (first[-1].name, first[-1].data["code"])
    assert again[-1].name == "message.failed"
    assert text_of(again) == text_of(first)


@in_session_and_direct
def test_session_stream_of_a_killed_process_is_interrupted_and_direct_stream_runs_again(
    server: ChatServer, chat_process: ChatProcess, provider: Provider, sql: Sql, *, is_direct: bool
) -> None:
    provider.script(streams(*(chunk(f"word{number} ") for number in range(500)), every=0.02, hold=True))
    path = path_of(server, is_direct=is_direct)
    body = {"message": "Hi"}
    other = ChatServer(chat_process.url, server.user)
    events: list[Event] = []
    is_killed = False
    headers = {"Idempotency-Key": KEY}
    with suppress(httpx.HTTPError), other.http.stream("POST", path, json=body, headers=headers) as response:
        for event in Reader(response):
            events.append(event)
            if not is_killed and len(text_of(events)) > 20:
                chat_process.kill()
                is_killed = True
    other.http.close()
    assert text_of(events).startswith("word0 word1")
    assert_problem(post(server, path), 409, "idempotency_in_progress")  # type: ignore[arg-type] # same interface
    sql.do("UPDATE chat_messages SET lease_expires_at = now() WHERE status = 'pending'")
    sql.do("UPDATE idempotency_keys SET lease_expires_at = now() WHERE lease_expires_at IS NOT NULL")
    again = events_of(post(server, path))
    if is_direct:
        assert (again[-1].name, text_of(again)) == ("message.completed", "Hello.")
    else:
        assert (again[-1].name, again[-1].data["code"]) == ("message.failed", "interrupted")
        assert text_of(again).startswith(text_of(events))
        assert again[-1].data["message"]["content"] == text_of(again)
    assert post(server, path).headers["Idempotent-Replayed"] == "true"


@in_session_and_direct
def test_key_of_a_stream_adds_at_most_one_sql_statement(server: ChatServer, *, is_direct: bool) -> None:
    path = path_of(server, is_direct=is_direct)
    with counted_statements() as without:
        server.http.post(path, json={"message": "Hi"}).raise_for_status()
    with counted_statements() as with_key:
        post(server, path).raise_for_status()
    assert not [statement for statement in without if uses_idempotency_keys(statement)]
    key_statements = [statement for statement in with_key if uses_idempotency_keys(statement)]
    # In a session: the statement that starts the turn. Direct: the claim of the key, and the insert into the ledger.
    assert len(key_statements) == (2 if is_direct else 1)
    assert len([statement for statement in key_statements if "llm_calls" in statement]) == (1 if is_direct else 0)
