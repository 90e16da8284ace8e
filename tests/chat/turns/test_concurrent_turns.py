"""Concurrent turns, and database connections during turns."""

from concurrent.futures import ThreadPoolExecutor

from fastapi.testclient import TestClient

from app import main
from app.config import Settings
from tests.fixtures.services import Chat, User, assert_problem
from tests.support.provider import Provider, held
from tests.support.waiting import closed_gate, wait_until


def test_concurrent_questions_in_a_session_are_refused(chat: Chat, provider: Provider) -> None:
    session = chat.open()
    with ThreadPoolExecutor(20) as pool, closed_gate() as gate:
        provider.always(held(gate))
        futures = [
            pool.submit(chat.request, "POST", f"/sessions/{session}/messages", json={"message": f"question {number}"})
            for number in range(20)
        ]
        wait_until(lambda: sum(future.done() for future in futures) == 19)
        gate.set()
        responses = [future.result() for future in futures]
    answered = [response for response in responses if response.status_code == 200]
    assert len(answered) == 1
    assert len(provider.calls) == 1
    for response in responses:
        if response is not answered[0]:
            problem = assert_problem(response, 409, "turn_active")
            assert problem["message_id"] == answered[0].json()["ai_response"]["id"]
    assert [message["status"] for message in chat.messages(session)] == ["complete", "complete"]


def test_sessions_are_answered_concurrently(chat: Chat, provider: Provider) -> None:
    sessions = [chat.open() for _ in range(10)]
    with ThreadPoolExecutor(10) as pool, closed_gate() as gate:
        provider.always(held(gate))
        futures = [pool.submit(chat.ask, session, "Hi") for session in sessions]
        provider.wait_for_calls(10)
        gate.set()
        assert {future.result()["ai_response"]["status"] for future in futures} == {"complete"}


def test_no_connection_is_held_while_a_model_answers(
    settings: Settings, chat_client: TestClient, ada: User, provider: Provider
) -> None:
    single = settings.model_copy(update={"DATABASE_POOL_SIZE": 1, "DATABASE_MAX_OVERFLOW": 0})
    with TestClient(main.create(single)) as client, ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.always(held(gate))
        chat = Chat(client, ada)
        future = pool.submit(chat.ask, chat.open(), "Hi")
        provider.wait_for_calls(1)
        assert chat.request("GET", "/sessions").status_code == 200
        assert not future.done()
        gate.set()
        assert future.result()["ai_response"]["status"] == "complete"
