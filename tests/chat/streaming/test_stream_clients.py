"""Event streams of refused, concurrent, disconnected and slow clients, and of deleted sessions."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from redis import Redis

from tests.chat.streaming.stream_checks import LONG_TEXT, status_and_code
from tests.fixtures.database import Sql
from tests.fixtures.services import User
from tests.fixtures.streaming import ChatServer, text_of
from tests.support.provider import Provider, answers, held
from tests.support.waiting import closed_gate, wait_until


def test_invalid_requests_are_refused_before_the_stream_starts(
    server: ChatServer, bob: User, provider: Provider
) -> None:
    session = server.open()
    path = f"/sessions/{session}/messages/stream"
    hi = {"message": "Hi"}
    assert status_and_code(server.http.post(path, json=hi, headers=bob.headers)) == (404, "not_found")
    assert status_and_code(server.http.post(f"/sessions/{uuid4()}/messages/stream", json=hi)) == (404, "not_found")
    for body in ({"message": " "}, {"message": "Hi", "more": 1}, {}):
        assert status_and_code(server.http.post(path, json=body)) == (422, "validation_error")
        assert status_and_code(server.http.post("/direct/stream", json=body)) == (422, "validation_error")
    server.http.headers["Authorization"] = "Bearer nonsense"
    assert status_and_code(server.http.post(path, json=hi)) == (401, "unauthorized")
    assert status_and_code(server.http.post("/direct/stream", json=hi)) == (401, "unauthorized")
    assert provider.calls == []


def test_one_of_20_concurrent_questions_in_a_session_is_answered(
    replicas: tuple[ChatServer, ChatServer], provider: Provider, sql: Sql
) -> None:
    session = replicas[0].open()

    def ask(number: int) -> tuple[int, str]:
        response = replicas[number % 2].http.post(f"/sessions/{session}/messages/stream", json={"message": f"{number}"})
        if response.status_code == 200:
            return 200, ""
        assert status_and_code(response) == (409, "turn_active")
        return 409, response.json()["message_id"]

    with ThreadPoolExecutor(20) as pool, closed_gate() as gate:
        provider.always(held(gate))
        futures = [pool.submit(ask, number) for number in range(20)]
        wait_until(lambda: sum(future.done() for future in futures) == 19)
        gate.set()
        outcomes = [future.result() for future in futures]
    assert sorted(status for status, _ in outcomes) == [200] + [409] * 19
    assert {message for status, message in outcomes if status == 409} == {replicas[0].messages(session)[1]["id"]}
    assert len(provider.calls) == 1
    assert sql.value("SELECT count(*) FROM chat_messages") == 2


def test_answers_of_disconnected_clients_are_stored(server: ChatServer, provider: Provider, sql: Sql) -> None:
    provider.always(answers(LONG_TEXT, every=0.005))

    def disconnect(session: str) -> None:
        with server.ask(session) as reader:
            reader.take(3)

    sessions = [server.open() for _ in range(20)]
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(disconnect, sessions))
    for session in sessions:
        answer = server.wait_for_answer(session)
        assert (answer["status"], answer["content"]) == ("complete", LONG_TEXT)
    assert sql.value("SELECT count(*) FROM llm_calls WHERE status = 'ok'") == 20
    # No stream leaves a transaction open.
    open_transactions = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
    wait_until(lambda: sql.value(open_transactions) == 0)


def test_client_that_does_not_read_delays_no_other_client(server: ChatServer, provider: Provider) -> None:
    text = " ".join(["x" * 60_000] * 40)
    provider.always(answers(text))
    unread_session = server.open()
    with server.ask(unread_session) as reader:
        reader.take(1)
        # The client does not read; this answer and those of others complete.
        assert server.wait_for_answer(unread_session)["status"] == "complete"
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
        provider.script(answers(LONG_TEXT, every=0.01, end=gate))
        with server.ask(server.open()) as reader:
            reader.read_to(10)
            sql.do(deletion)
            provider.wait_until(lambda: provider.calls[0].abandoned is not None)
            provider.wait_until(lambda: not redis.keys("turn:*"))
