"""Interrupted streams that are resumed on any replica."""

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from uuid import uuid4

import pytest
from redis import Redis

from app.chat.streaming.remote import MessageRef, RemoteStreams
from app.database.repositories.chat.sessions import StoredTurn
from tests.chat.streaming.stream_checks import LONG_TEXT, assert_complete_stream, status_and_code
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.fixtures.streaming import ChatServer, Event, text_of
from tests.support.provider import Provider, answers, chunk, held, streams, streams_from_queue
from tests.support.waiting import closed_gate

Replicas = tuple[ChatServer, ChatServer]


def read_with_interruptions(replicas: Replicas, session: str, rng: random.Random) -> list[Event]:
    """Read an answer with many interruptions, and resume it on a random replica each time."""
    first, *others = rng.sample(replicas, 2)
    with first.ask(session) as reader:
        events = list(islice(reader, rng.randint(1, 6)))
    message = events[0].data["message_id"]
    while events[-1].name != "message.completed":
        replica = rng.choice([first, *others])
        with replica.resume(session, message, events[-1].id) as reader:
            events += islice(reader, rng.randint(1, 30))
    return events


def test_streams_interrupted_at_random_points_miss_and_repeat_nothing(replicas: Replicas, provider: Provider) -> None:
    provider.always(answers(LONG_TEXT, every=0.006))
    sessions = [replicas[0].open() for _ in range(24)]
    with ThreadPoolExecutor(8) as pool:
        runs = pool.map(
            lambda session: read_with_interruptions(replicas, session, random.Random(session)),  # noqa: S311 - not a secret
            sessions,
        )
        for session, events in zip(sessions, runs, strict=True):
            assert "message.snapshot" not in [event.name for event in events]
            assert text_of(events) == LONG_TEXT
            assert_complete_stream(events, replicas[0].messages(session)[1])
    assert len(provider.calls) == 24


@pytest.fixture
def completed_answer(server: ChatServer, provider: Provider) -> tuple[str, list[Event]]:
    """Id of a session, and the events of its only answer."""
    session = server.open()
    provider.script(answers("one two three four", every=0.03))
    return session, server.ask_all(session)


@pytest.mark.parametrize("replica", [0, 1], ids=["same replica", "other replica"])
def test_resume_after_any_event_returns_the_rest(
    replicas: Replicas, completed_answer: tuple[str, list[Event]], replica: int
) -> None:
    session, events = completed_answer
    message = events[0].data["message_id"]
    for number, event in enumerate(events):
        events_after = replicas[replica].resume_all(session, message, after=event.id)
        assert text_of(events_after) == text_of(events[number + 1 :])
        assert events_after[-1] == events[-1]
        assert "message.snapshot" not in [one.name for one in events_after]
    again = replicas[replica].resume_all(session, message)
    assert again[0] == events[0]
    assert text_of(again) == "one two three four"


def test_resume_position_may_be_within_a_delta(replicas: Replicas, completed_answer: tuple[str, list[Event]]) -> None:
    session, events = completed_answer
    events_after = replicas[1].resume_all(session, events[0].data["message_id"], after=5)
    assert text_of(events_after) == "wo three four"


def test_resume_after_the_buffer_has_expired_returns_a_snapshot(
    replicas: Replicas, completed_answer: tuple[str, list[Event]], redis: Redis
) -> None:
    session, events = completed_answer
    message = events[0].data["message_id"]
    assert 0 < redis.ttl(f"turn:{message}") <= 300
    redis.flushdb()
    for replica in replicas:
        snapshot, last = replica.resume_all(session, message, after=3)
        assert snapshot.name == "message.snapshot"
        assert snapshot.data["message"] == replica.messages(session)[1]
        assert last.name == "message.completed"
        # After the position of the snapshot, only the terminal event remains.
        assert replica.resume_all(session, message, after=snapshot.id) == [last]
        created, snapshot, last = replica.resume_all(session, message)
        assert (created.name, text_of([snapshot])) == ("message.created", "one two three four")


def test_resume_after_an_unknown_position_returns_a_snapshot(
    replicas: Replicas, completed_answer: tuple[str, list[Event]]
) -> None:
    session, events = completed_answer
    for replica in replicas:
        names = [event.name for event in replica.resume_all(session, events[0].data["message_id"], after=10**9)]
        assert names == ["message.snapshot", "message.completed"]


def test_plain_request_can_be_followed_as_a_stream(replicas: Replicas, provider: Provider) -> None:
    session = replicas[0].open()
    with ThreadPoolExecutor(3) as pool, closed_gate() as gate:
        provider.script(held(gate))
        plain = pool.submit(replicas[0].http.post, f"/sessions/{session}/messages", json={"message": "Hi"})
        provider.wait_for_calls(1)
        message = replicas[0].messages(session)[1]["id"]
        followed = [pool.submit(replica.resume_all, session, message) for replica in replicas]
        gate.set()
        assert plain.result().json()["ai_response"]["content"] == "Hello."
    for events in (future.result() for future in followed):
        assert text_of(events) == "Hello."
        assert_complete_stream(events, replicas[0].messages(session)[1])


def test_several_clients_follow_the_same_turn_live(replicas: Replicas, provider: Provider) -> None:
    session = replicas[0].open()
    provider.script(streams(chunk("Hello"), hold=True))
    with replicas[0].ask(session) as first:
        created, _ = first.take(2)
        message = created.data["message_id"]
        with (
            replicas[0].resume(session, message) as second,
            replicas[1].resume(session, message) as third,
            replicas[1].resume(session, message, after=2) as fourth,
        ):
            for reader in (second, third):
                assert reader.take(1)[0].name == "message.created"
                assert reader.take(1)[0].data["text"] == "Hello"
            assert fourth.take(1)[0].data["text"] == "llo"
            replicas[0].cancel(session, message)
            endings = [list(reader)[-1] for reader in (first, second, third, fourth)]
    assert {ending.name for ending in endings} == {"message.cancelled"}
    assert len({ending.data["sha256"] for ending in endings}) == 1


def test_follower_on_another_replica_receives_each_delta_immediately(replicas: Replicas, provider: Provider) -> None:
    session, pieces = replicas[0].open(), SimpleQueue[bytes | None]()
    provider.script(streams_from_queue(pieces))
    with replicas[0].ask(session) as reader:
        message = reader.take(1)[0].data["message_id"]
        with replicas[1].resume(session, message) as other:
            other.take(1)
            for text in ("a", " b", " c"):
                pieces.put(chunk(text))
                assert reader.take(1)[0].data == other.take(1)[0].data
            for last in (chunk(finish_reason="stop"), None):
                pieces.put(last)
            assert list(reader)[-1] == list(other)[-1]


@pytest.mark.parametrize("position", ["x", "-1", "1.5", "", "9" * 30, "0x1"])
def test_invalid_position_is_refused(
    server: ChatServer, completed_answer: tuple[str, list[Event]], position: str
) -> None:
    session, events = completed_answer
    path = f"/sessions/{session}/messages/{events[0].data['message_id']}/events"
    assert status_and_code(server.http.get(path, headers={"Last-Event-ID": position})) == (422, "validation_error")
    assert status_and_code(server.http.get(path, params={"after": position})) == (422, "validation_error")


def test_answer_can_be_followed_and_cancelled_only_by_its_owner(
    replicas: Replicas, completed_answer: tuple[str, list[Event]], bob: User
) -> None:
    session, events = completed_answer
    own, message = f"/sessions/{session}/messages", events[0].data["message_id"]
    elsewhere = replicas[0].open()
    question = events[0].data["user_message"]["id"]
    paths = [
        f"{own}/{uuid4()}",
        f"{own}/{question}",
        f"/sessions/{elsewhere}/messages/{message}",
        f"/sessions/{uuid4()}/messages/{message}",
    ]
    for replica in replicas:
        for path in paths:
            assert status_and_code(replica.http.get(f"{path}/events")) == (404, "not_found")
            assert status_and_code(replica.http.post(f"{path}/cancel")) == (404, "not_found")
        assert status_and_code(replica.http.get(f"{own}/{message}/events", headers=bob.headers)) == (404, "not_found")
        assert status_and_code(replica.http.post(f"{own}/{message}/cancel", headers=bob.headers)) == (404, "not_found")


def test_buffer_emptied_during_a_stream_is_written_again(replicas: Replicas, provider: Provider, redis: Redis) -> None:
    session = replicas[0].open()
    with closed_gate() as gate:
        provider.script(answers(LONG_TEXT, every=0.01, end=gate))
        with replicas[0].ask(session) as reader:
            events_before = reader.read_to(300)
            message = events_before[0].data["message_id"]
            redis.flushdb()
            events_before += reader.read_to(600)
            gate.set()
            events_after = replicas[1].resume_all(session, message, after=events_before[-1].id)
            events = events_before + list(reader)
    assert_complete_stream(events, replicas[0].messages(session)[1])
    assert text_of(events_before + events_after) == LONG_TEXT
    assert "message.snapshot" not in [event.name for event in events_after]


def test_stream_of_a_turn_with_an_expired_lease_ends_as_interrupted(
    replicas: Replicas, provider: Provider, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, reads = RemoteStreams.find, 0

    async def find_and_count(streams: RemoteStreams, ref: MessageRef) -> StoredTurn | None:
        nonlocal reads
        reads += 1
        return await find(streams, ref)

    monkeypatch.setattr("app.chat.streaming.remote._POLL_INTERVAL", 0.01)
    monkeypatch.setattr(RemoteStreams, "find", find_and_count)
    session = replicas[0].open()
    message = replicas[0].ask_all(session)[0].data["message_id"]
    sql.do(
        "UPDATE chat_messages SET status = 'pending', lease_expires_at = now() - interval '1 second'"
        " WHERE role = 'assistant'"
    )
    last = replicas[1].resume_all(session, message)[-1]
    assert 10 <= reads <= 20  # ten seconds for the recovery, with the interval of production
    assert (last.name, last.data["code"]) == ("message.failed", "interrupted")
    assert last.data["message"]["status"] == "interrupted"
