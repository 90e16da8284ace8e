"""Reasoning of a model: events for the clients that ask for them, and metadata of the answer."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from uuid import UUID

import pytest
from redis import Redis

from app.services.redis.keys import reasoning_key
from tests.chat.streaming.stream_checks import STOP, assert_complete_stream
from tests.fixtures.streaming import ChatServer, Reader
from tests.support.provider import DONE, Provider, chunk, sends, streams, streams_from_queue
from tests.support.waiting import wait_until


def thought(text: str) -> bytes:
    choice = {"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"model": "m", "choices": [choice]}).encode() + b"\n\n"


@contextmanager
def ask_with_reasoning(server: ChatServer, session: str | None) -> Iterator[Reader]:
    path = "/direct/stream" if session is None else f"/sessions/{session}/messages/stream"
    with server.http.stream("POST", path, params={"reasoning": "true"}, json={"message": "Hi"}) as response:
        assert response.status_code == 200, response.read()
        yield Reader(response)


@pytest.mark.parametrize("is_direct", [True, False])
def test_reasoning_arrives_before_the_answer(server: ChatServer, provider: Provider, *, is_direct: bool) -> None:
    session, pieces = None if is_direct else server.open(), SimpleQueue[bytes | None]()
    provider.script(streams_from_queue(pieces))
    with ask_with_reasoning(server, session) as reader:
        events = reader.take(1)
        for text in ("Let me", " think."):
            pieces.put(thought(text))
            events += reader.take(1)
        for piece in (chunk("Hello."), STOP, DONE, None):
            pieces.put(piece)
        events += list(reader)
    assert [event.name for event in events] == [
        "message.created",
        "message.reasoning",
        "message.reasoning",
        "message.delta",
        "message.completed",
    ]
    assert [event.data["text"] for event in events[1:3]] == ["Let me", " think."]
    message = events[-1].data["message"]
    assert (message["content"], message["metadata"]["reasoning"]) == ("Hello.", "Let me think.")
    if session is not None:
        assert server.messages(session)[1]["metadata"]["reasoning"] == "Let me think."


def test_clients_that_do_not_ask_get_no_reasoning_events(server: ChatServer, provider: Provider) -> None:
    provider.script(streams(thought("Let me think."), chunk("Hello."), STOP, DONE))
    session = server.open()
    events = server.ask_all(session)
    assert [event.name for event in events] == ["message.created", "message.delta", "message.completed"]
    assert_complete_stream(events, server.messages(session)[1])


def test_followers_get_the_reasoning_from_its_beginning(server: ChatServer, provider: Provider) -> None:
    session, pieces = server.open(), SimpleQueue[bytes | None]()
    provider.script(streams_from_queue(pieces))
    with ask_with_reasoning(server, session) as reader:
        message = reader.take(1)[0].data["message_id"]
        pieces.put(thought("Let me"))
        reader.take(1)
        path = f"/sessions/{session}/messages/{message}/events"
        with server.http.stream("GET", path, params={"reasoning": "true"}) as response:
            follower = Reader(response)
            created, first = follower.take(2)
            assert (created.name, first.name, first.data["text"]) == ("message.created", "message.reasoning", "Let me")
            for piece in (thought(" think."), chunk("Hello."), STOP, DONE, None):
                pieces.put(piece)
            texts = [event.data["text"] for event in follower if event.name == "message.reasoning"]
            assert texts == [" think."]


def test_followers_at_another_replica_get_the_reasoning_before_the_text(
    replicas: tuple[ChatServer, ChatServer], provider: Provider, redis: Redis
) -> None:
    first, second = replicas
    session, pieces = first.open(), SimpleQueue[bytes | None]()
    provider.script(streams_from_queue(pieces))
    with ask_with_reasoning(first, session) as reader:
        message = reader.take(1)[0].data["message_id"]
        pieces.put(thought("Grüße 🌍."))
        reader.take(1)
        path = f"/sessions/{session}/messages/{message}/events"
        with second.http.stream("GET", path, params={"reasoning": "true"}) as response:
            follower = Reader(response)
            events = follower.take(2)
            pieces.put(thought(" Let me think."))
            events += follower.take(1)
            assert [event.data.get("text") for event in events] == [None, "Grüße 🌍.", " Let me think."]
            redis.delete(reasoning_key(UUID(message)))  # Redis has lost it
            for piece in (thought(" More."), chunk("Hello."), STOP, DONE, None):
                pieces.put(piece)
            events += list(follower)
        assert_complete_stream(
            [event for event in events if event.name != "message.reasoning"], second.messages(session)[1]
        )
    first.http.delete(f"/sessions/{session}/messages/{message}").raise_for_status()
    wait_until(lambda: not redis.exists(reasoning_key(UUID(message))))


def test_reasoning_is_bounded(server: ChatServer, provider: Provider) -> None:
    provider.script(streams(*[thought("x" * 30_000)] * 3, chunk("Hello."), STOP, DONE))
    session = server.open()
    with ask_with_reasoning(server, session) as reader:
        events = list(reader)
    shown = "".join(event.data["text"] for event in events if event.name == "message.reasoning")
    assert shown == events[-1].data["message"]["metadata"]["reasoning"] == "x" * 50_000


def test_plain_answer_has_the_reasoning_in_its_metadata(server: ChatServer, provider: Provider) -> None:
    message = {"content": "Hello.", "reasoning": "Let me think."}
    provider.script(
        sends(json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode())
    )
    path = f"/sessions/{server.open()}/messages"
    answer = server.http.post(path, json={"message": "Hi"}).raise_for_status().json()["ai_response"]
    assert (answer["content"], answer["metadata"]["reasoning"]) == ("Hello.", "Let me think.")
