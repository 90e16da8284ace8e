"""Cancellation of turns from any replica, with the partial text stored."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from redis import Redis

from app.database.repositories.turns import active_turns
from tests.chat.streaming.stream_checks import assert_complete_stream
from tests.fixtures.database import Sql
from tests.fixtures.streaming import ChatServer
from tests.support.provider import Provider, answers, chunk, stalls, streams
from tests.support.waiting import LONGEST_WAIT, closed_gate

Replicas = tuple[ChatServer, ChatServer]


@pytest.fixture(autouse=True)
def long_cancel_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend the timeout of cancellations for busy machines."""
    monkeypatch.setattr("app.services.turn_end_polling.CANCEL_TIMEOUT", LONGEST_WAIT)


@pytest.mark.parametrize("replica", [0, 1], ids=["same replica", "other replica"])
def test_cancelled_turn_ends_its_model_call_and_stores_the_partial_text(
    replicas: Replicas, provider: Provider, sql: Sql, replica: int
) -> None:
    session = replicas[0].open()
    provider.script(streams(chunk("Once upon "), chunk("a time"), hold=True))
    with replicas[0].ask(session) as reader:
        events = reader.read_to(len("Once upon a time"))
        message = events[0].data["message_id"]
        response = replicas[replica].cancel(session, message)
        (call,) = provider.calls
        provider.wait_until(lambda: call.abandoned is not None)
        assert response.status_code == 200
        cancelled = response.json()
        # The response is sent after the turn has ended, so it equals the stored message.
        assert replicas[0].messages(session)[1] == cancelled
        events += list(reader)
    assert (cancelled["status"], cancelled["content"]) == ("cancelled", "Once upon a time")
    assert "error" not in cancelled["metadata"]
    assert events[-1].name == "message.cancelled"
    assert_complete_stream(events, cancelled)
    (row,) = sql.rows("SELECT status, is_estimated, prompt_tokens > 0 AS asked, completion_tokens FROM llm_calls")
    assert row == {"status": "cancelled", "is_estimated": True, "asked": True, "completion_tokens": 4}
    assert cancelled["tokens_used"] > 4
    # The session continues, and its history omits the cancelled answer.
    replicas[1].ask_all(session, "And now?")
    assert "Once upon" not in str(provider.calls[-1].body)


def test_cancellation_works_without_redis(
    replicas: Replicas, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def publish_nothing(*_: object) -> None: ...

    monkeypatch.setattr("app.services.redis.cancel_channel.CancelChannel.publish", publish_nothing)
    session = replicas[0].open()
    provider.script(streams(chunk("Once"), hold=True))
    with replicas[0].ask(session) as reader:
        message = reader.take(2)[0].data["message_id"]
        assert replicas[1].cancel(session, message).json()["status"] == "cancelled"
        assert list(reader)[-1].name == "message.cancelled"


def test_plain_request_can_be_cancelled(replicas: Replicas, provider: Provider, sql: Sql) -> None:
    session = replicas[0].open()
    provider.script(stalls())
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(replicas[0].http.post, f"/sessions/{session}/messages", json={"message": "Hi"})
        provider.wait_for_calls(1)
        message = replicas[0].messages(session)[1]["id"]
        cancelled = replicas[1].cancel(session, message).json()
        assert (cancelled["status"], cancelled["content"]) == ("cancelled", "")
        assert future.result().json()["ai_response"] | {"timestamp": ""} == cancelled | {"timestamp": ""}
    assert sql.value("SELECT status FROM llm_calls") == "cancelled"


def test_cancelling_a_completed_answer_returns_it_unchanged(replicas: Replicas) -> None:
    session = replicas[0].open()
    message = replicas[0].ask_all(session)[0].data["message_id"]
    before = replicas[0].messages(session)[1]
    for replica in replicas * 2:
        response = replica.cancel(session, message)
        assert (response.status_code, response.json()) == (200, before)


def test_concurrent_cancellations_return_the_same_message(replicas: Replicas, provider: Provider, sql: Sql) -> None:
    session = replicas[0].open()
    with closed_gate() as gate, ThreadPoolExecutor(10) as pool:
        provider.script(answers("a b c d e f g h i j", end=gate))
        with replicas[0].ask(session) as reader:
            message = reader.take(2)[0].data["message_id"]
            cancelled = list(pool.map(lambda number: replicas[number % 2].cancel(session, message).json(), range(10)))
            assert list(reader)[-1].data["message"] == cancelled[0]
    assert all(one == cancelled[0] for one in cancelled)
    assert sql.value("SELECT count(*) FROM llm_calls") == 1


def test_cancellation_that_exceeds_its_timeout_returns_202(
    replicas: Replicas, provider: Provider, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.turn_end_polling.CANCEL_TIMEOUT", 0.3)
    session = replicas[0].open()
    message = replicas[0].ask_all(session)[0].data["message_id"]
    # The turn of a live process that ignores cancellations.
    sql.do(
        "UPDATE chat_messages SET status = 'pending', lease_expires_at = now() + interval '1 minute'"
        " WHERE role = 'assistant'"
    )
    response = replicas[0].cancel(session, message)
    assert (response.status_code, response.json()["status"]) == (202, "pending")
    assert sql.value("SELECT cancel_requested_at IS NOT NULL FROM chat_messages WHERE role = 'assistant'")


async def find_no_cancellations(*_: object, **__: object) -> set[UUID]:
    return set()


def assert_cancelled_without_polling(replicas: Replicas, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that a cancellation arrives over Redis: polls of the database find none."""
    monkeypatch.setattr(active_turns, "renew_leases", find_no_cancellations)
    session = replicas[0].open()
    provider.script(streams(chunk("Once"), hold=True))
    with replicas[0].ask(session) as reader:
        message = reader.take(2)[0].data["message_id"]
        assert replicas[1].cancel(session, message).status_code == 200
        list(reader)


def test_cancellation_does_not_wait_for_a_database_poll(
    replicas: Replicas, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_cancelled_without_polling(replicas, provider, monkeypatch)


def test_cancel_channel_ignores_invalid_messages(
    replicas: Replicas, provider: Provider, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.publish("turns:stop", b"\xff\x00 nonsense")
    assert_cancelled_without_polling(replicas, provider, monkeypatch)
