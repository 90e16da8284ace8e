"""Event streams of answers: events, headers, text and pings, over real sockets."""

import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from tests.chat.streaming.stream_checks import LONG_TEXT, STOP, assert_complete_stream
from tests.fixtures.database import Sql
from tests.fixtures.streaming import ChatServer, text_of
from tests.support.provider import DONE, Provider, answers, chunk, held, streams, streams_from_queue
from tests.support.waiting import closed_gate, wait_until


def test_stream_sends_the_documented_events(server: ChatServer, provider: Provider, sql: Sql) -> None:
    session, pieces = server.open(), SimpleQueue[bytes | None]()
    provider.script(streams_from_queue(pieces))
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
    assert_complete_stream(events, answer)
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
    tokens = LONG_TEXT.replace(" ", "| ").split("|")
    provider.script(streams(b"".join(map(chunk, tokens)) + STOP + DONE))
    events = server.ask_all(session)
    assert len(events) < 60 < len(tokens)
    assert_complete_stream(events, server.messages(session)[1])
    assert text_of(events) == LONG_TEXT


def test_surrounding_blank_lines_are_removed_from_stream_and_stored_answer(
    server: ChatServer, provider: Provider
) -> None:
    session = server.open()
    pieces = [chunk(text) for text in (" \n", " a ", "\n\n", "b", " \n")]
    provider.script(streams(*pieces, STOP, DONE, every=0.03))
    events = server.ask_all(session)
    assert text_of(events) == " a \n\nb"
    assert_complete_stream(events, server.messages(session)[1])


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


def test_nul_in_a_streamed_answer_is_removed(server: ChatServer, provider: Provider) -> None:
    session = server.open()
    provider.script(streams(chunk("a\x00"), chunk("b"), STOP, DONE))
    events = server.ask_all(session)
    assert text_of(events) == "ab"
    assert_complete_stream(events, server.messages(session)[1])


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
