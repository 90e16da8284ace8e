"""Answers as event streams, over real sockets."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis import Redis

from app import main
from app.config import Settings
from app.graph.prompts import FALLBACK_RESPONSE
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.fixtures.streaming import ChatServer, Event, serving, text_of
from tests.support.provider import DONE, Behaviour, Provider, answers, chunk, fails, held, resets, stalls, streams, told
from tests.support.waiting import closed_gate, wait_until

LONG = " ".join(f"word{number}" for number in range(200))
STOP = chunk(finish_reason="stop")


def assert_whole(events: list[Event], stored: dict[str, Any]) -> None:
    """Check that the stream matches the stored answer and its own length and checksum."""
    last = events[-1].data
    assert text_of(events) == stored["content"] == last["message"]["content"]
    assert last["message"]["status"] == stored["status"]
    assert last["length"] == len(stored["content"])
    assert last["sha256"] == hashlib.sha256(stored["content"].encode()).hexdigest()
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))


def test_stream_sends_the_documented_events(server: ChatServer, provider: Provider, sql: Sql) -> None:
    session, pieces = server.open(), SimpleQueue[bytes | None]()
    provider.script(told(pieces))
    with server.ask(session, "Hi", context={"place": "Rome"}) as reader:
        events = reader.take(1)
        for token in ("Good", " day,", " Ada.", " 🌍"):
            pieces.put(chunk(token))
            events += reader.take(1)
        for piece in (STOP, chunk(choices=[], usage={"prompt_tokens": 20, "completion_tokens": 5}), DONE, None):
            pieces.put(piece)
        events += list(reader)
    first, *deltas, last = events
    assert first.name == "message.created"
    assert first.data["session_id"] == session
    assert first.data["user_message"]["content"] == "Hi"
    assert first.data["user_message"]["metadata"] == {"place": "Rome"}
    assert [delta.name for delta in deltas] == ["message.delta"] * 4
    assert [delta.data["text"] for delta in deltas] == ["Good", " day,", " Ada.", " 🌍"]
    assert last.name == "message.completed"
    message = last.data["message"]
    assert message["id"] == first.data["message_id"]
    assert message["parent_id"] == first.data["user_message"]["id"]
    assert (message["status"], message["tokens_used"]) == ("complete", 25)
    question, answer = server.messages(session)
    assert question == first.data["user_message"]
    assert answer | {"timestamp": ""} == message | {"timestamp": ""}
    assert_whole(events, answer)
    assert sql.value("SELECT first_token_ms < latency_ms FROM llm_calls")
    assert provider.calls[0].stream


def test_stream_headers_forbid_buffering_and_caching(server: ChatServer) -> None:
    with server.ask(server.open()) as reader:
        headers = reader.response.headers
        assert headers["Content-Type"].partition(";")[0] == "text/event-stream"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["Cache-Control"] == "no-store"
        list(reader)


def test_first_delta_is_sent_immediately(server: ChatServer, provider: Provider) -> None:
    provider.script(streams(chunk("Hello"), hold=True))
    with server.ask(server.open()) as reader:
        created, delta = reader.take(2)
        assert (created.name, delta.data["text"]) == ("message.created", "Hello")
        session, message = created.data["session_id"], created.data["message_id"]
        assert server.cancel(session, message).json()["status"] == "cancelled"


def test_tokens_received_together_are_sent_in_fewer_deltas(server: ChatServer, provider: Provider) -> None:
    session = server.open()
    tokens = LONG.replace(" ", "| ").split("|")
    provider.script(streams(b"".join(map(chunk, tokens)) + STOP + DONE))
    events = server.ask_all(session)
    assert len(events) < 60 < len(tokens)
    assert_whole(events, server.messages(session)[1])
    assert text_of(events) == LONG


def test_surrounding_white_space_is_removed_from_stream_and_stored_answer(
    server: ChatServer, provider: Provider
) -> None:
    session = server.open()
    pieces = [chunk(text) for text in (" \n", " a ", "\n\n", "b", " \n")]
    provider.script(streams(*pieces, STOP, DONE, every=0.03))
    events = server.ask_all(session)
    assert text_of(events) == "a \n\nb"
    assert_whole(events, server.messages(session)[1])


def test_direct_stream_has_the_same_events_and_is_not_stored(server: ChatServer, provider: Provider, sql: Sql) -> None:
    provider.script(answers("Four.", usage=(9, 1)))
    first, *deltas, last = server.ask_all(None, "2 + 2?", context={"tone": "casual"})
    assert (first.name, list(first.data)) == ("message.created", ["message_id"])
    assert text_of(deltas) == "Four."
    assert last.name == "message.completed"
    assert last.data["message"]["id"] == first.data["message_id"]
    assert (last.data["message"]["status"], last.data["message"]["tokens_used"]) == ("complete", 10)
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT session_id IS NULL AND prompt_tokens = 9 FROM llm_calls")


def test_streamed_answer_is_part_of_the_history(server: ChatServer, provider: Provider) -> None:
    session = server.open()
    provider.script(answers("Hello Ada."))
    server.ask_all(session, "I am Ada.")
    server.ask_all(session, "Who am I?")
    said = [message["content"] for message in provider.calls[1].messages[1:]]
    assert said == ["I am Ada.", "Hello Ada.", "Who am I?"]


def refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def test_invalid_requests_are_refused_before_the_stream_starts(
    server: ChatServer, bob: User, provider: Provider
) -> None:
    session = server.open()
    path = f"/sessions/{session}/messages/stream"
    hi = {"message": "Hi"}
    assert refusal(server.http.post(path, json=hi, headers=bob.headers)) == (404, "not_found")
    assert refusal(server.http.post(f"/sessions/{uuid4()}/messages/stream", json=hi)) == (404, "not_found")
    for wrong in ({"message": " "}, {"message": "Hi", "more": 1}, {}):
        assert refusal(server.http.post(path, json=wrong)) == (422, "validation_error")
        assert refusal(server.http.post("/direct/stream", json=wrong)) == (422, "validation_error")
    server.http.headers["Authorization"] = "Bearer nonsense"
    assert refusal(server.http.post(path, json=hi)) == (401, "unauthorized")
    assert refusal(server.http.post("/direct/stream", json=hi)) == (401, "unauthorized")
    assert provider.calls == []


def test_one_of_20_concurrent_questions_in_a_session_is_answered(
    replicas: tuple[ChatServer, ChatServer], provider: Provider, sql: Sql
) -> None:
    session = replicas[0].open()

    def ask(number: int) -> tuple[int, str]:
        response = replicas[number % 2].http.post(f"/sessions/{session}/messages/stream", json={"message": f"{number}"})
        if response.status_code == 200:
            return 200, ""
        assert refusal(response) == (409, "turn_active")
        return 409, response.json()["message_id"]

    with ThreadPoolExecutor(20) as pool, closed_gate() as gate:
        provider.always(held(gate))
        asked = [pool.submit(ask, number) for number in range(20)]
        wait_until(lambda: sum(one.done() for one in asked) == 19)
        gate.set()
        outcomes = [one.result() for one in asked]
    assert sorted(status for status, _ in outcomes) == [200] + [409] * 19
    assert {message for status, message in outcomes if status == 409} == {replicas[0].messages(session)[1]["id"]}
    assert len(provider.calls) == 1
    assert sql.value("SELECT count(*) FROM chat_messages") == 2


@pytest.fixture(scope="module")
def impatient_url(settings: Settings) -> Iterator[str]:
    """URL of a service with an attempt timeout of two seconds and without retries."""
    limits = {"LLM_ATTEMPT_TIMEOUT": 2, "LLM_TURN_TIMEOUT": 10, "LLM_RETRIES_PER_MODEL": 0}
    with serving(main.create(settings.model_copy(update=limits))) as url:
        yield url


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(fails(500, retry_after="0"), "provider_error", id="500"),
        pytest.param(resets(), "provider_unreachable", id="reset"),
        pytest.param(stalls(), "provider_timeout", id="stalled"),
        pytest.param(streams(DONE), "provider_bad_response", id="nothing"),
        pytest.param(streams(chunk(error={"message": "provider detail"})), "provider_error", id="error object"),
    ],
)
def test_fallback_message_and_message_failed_are_sent_when_every_model_fails(
    server: ChatServer, impatient_url: str, provider: Provider, behaviour: Behaviour, code: str
) -> None:
    session = server.open()
    provider.always(behaviour)
    impatient = ChatServer(impatient_url, server.user)
    events = (impatient if code == "provider_timeout" else server).ask_all(session)
    impatient.http.close()
    assert (events[-1].name, events[-1].data["code"]) == ("message.failed", code)
    assert text_of(events) == FALLBACK_RESPONSE
    answer = server.messages(session)[1]
    assert_whole(events, answer)
    assert answer["status"] == "failed"
    assert answer["metadata"]["fallback"] is True
    assert "provider detail" not in str(events)


def test_attempt_that_fails_before_its_first_token_is_retried(server: ChatServer, provider: Provider) -> None:
    session = server.open()
    provider.script(streams(DONE), fails(401))
    provider.script(answers("Hello."))
    events = server.ask_all(session)
    assert (events[-1].name, text_of(events)) == ("message.completed", "Hello.")
    assert [call.model for call in provider.calls] == ["gpt-primary", "gpt-primary", "gpt-fallback"]


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(answers("a b c", cut_after=2), "provider_unreachable", id="cut"),
        pytest.param(answers("a b", finish_reason=None), "provider_bad_response", id="no finish reason"),
        pytest.param(streams(chunk("a b"), b"data: {\n\n"), "provider_bad_response", id="broken json"),
        pytest.param(streams(chunk("a b"), chunk(error={"message": "no"})), "provider_error", id="error object"),
    ],
)
def test_attempt_that_fails_after_its_first_token_ends_as_failed_with_partial_text(
    server: ChatServer, provider: Provider, sql: Sql, behaviour: Behaviour, code: str
) -> None:
    session = server.open()
    provider.always(behaviour)
    events = server.ask_all(session)
    assert (events[-1].name, events[-1].data["code"]) == ("message.failed", code)
    assert text_of(events) == "a b"
    answer = server.messages(session)[1]
    assert_whole(events, answer)
    assert (answer["status"], answer["metadata"]["error"], answer["metadata"]["fallback"]) == ("failed", code, False)
    assert len(provider.calls) == 1
    (call,) = sql.rows("SELECT status, error_code, is_estimated, completion_tokens FROM llm_calls")
    assert call == {"status": "error", "error_code": code, "is_estimated": True, "completion_tokens": 1}
    # A failed answer is not part of the history.
    server.ask_all(session, "And now?")
    assert "a b" not in str(provider.calls[-1].body)


def test_nul_in_a_streamed_answer_is_removed(server: ChatServer, provider: Provider) -> None:
    session = server.open()
    provider.script(streams(chunk("a\x00"), chunk("b"), STOP, DONE))
    events = server.ask_all(session)
    assert text_of(events) == "ab"
    assert_whole(events, server.messages(session)[1])


def test_answers_of_disconnected_clients_are_stored(server: ChatServer, provider: Provider, sql: Sql) -> None:
    provider.always(answers(LONG, every=0.005))

    def leave(session: str) -> None:
        with server.ask(session) as reader:
            reader.take(3)

    sessions = [server.open() for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(leave, sessions))
    for session in sessions:
        answer = server.wait_for_answer(session)
        assert (answer["status"], answer["content"]) == ("complete", LONG)
    assert sql.value("SELECT count(*) FROM llm_calls WHERE status = 'ok'") == 20
    # No stream leaves a transaction open.
    open_transactions = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
    wait_until(lambda: sql.value(open_transactions) == 0)


def test_silent_stream_sends_pings(server: ChatServer, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.chat.streaming.subscriber.PING_INTERVAL", 0.2)
    with ThreadPoolExecutor(1) as pool, closed_gate() as first, closed_gate() as end:
        provider.script(held(first, answers("a b", end=end)))
        started = time.monotonic()
        with server.ask(server.open()) as reader:
            reading = pool.submit(list, reader)
            wait_until(lambda: reader.pings >= 2)
            first.set()
            wait_until(lambda: reader.pings >= 4)
            assert not reading.done()
            end.set()
            assert text_of(reading.result()) == "a b"
            # At most one ping per interval of silence.
            assert reader.pings <= (time.monotonic() - started) / 0.15


def test_client_that_does_not_read_delays_no_other_client(server: ChatServer, provider: Provider) -> None:
    text = " ".join(["x" * 60_000] * 40)
    provider.always(answers(text))
    asleep = server.open()
    with server.ask(asleep) as reader:
        reader.take(1)
        # The client does not read; this answer and those of others complete.
        assert server.wait_for_answer(asleep)["status"] == "complete"
        assert server.ask_all(server.open())[-1].name == "message.completed"
        assert text_of(list(reader)) == text  # nothing is lost


def test_deleting_a_session_ends_its_stream_with_not_found(server: ChatServer, provider: Provider, sql: Sql) -> None:
    session = server.open()
    with closed_gate() as gate:
        provider.script(answers("a b c", end=gate))
        with server.ask(session) as reader:
            reader.take(2)
            assert server.http.delete(f"/sessions/{session}").status_code == 200
            gate.set()
            *_, last = reader
    assert (last.name, last.data["code"]) == ("message.failed", "not_found")
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT count(*) FROM llm_calls WHERE prompt_tokens > 0") == 1


@pytest.mark.parametrize("deletion", ["DELETE FROM chat_sessions", "DELETE FROM users"], ids=["session", "account"])
def test_deleted_answer_is_cancelled_and_removed_from_redis(
    server: ChatServer, provider: Provider, sql: Sql, redis: Redis, deletion: str
) -> None:
    with closed_gate() as gate:
        provider.script(answers(LONG, every=0.01, end=gate))
        with server.ask(server.open()) as reader:
            reader.read_to(10)
            sql.do(deletion)
            provider.wait_until(lambda: provider.calls[0].abandoned is not None)
            provider.wait_until(lambda: not redis.keys("turn:*"))
