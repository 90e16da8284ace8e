"""Components of the stack that are killed or stopped."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.graph.prompts import FALLBACK_RESPONSE
from local.stack import Stack
from tests.e2e.chat_requests import answer, ask, assert_gateway_problem, open_session
from tests.e2e.conftest import UserClient
from tests.e2e.stack_control import component, kill, process
from tests.fixtures.database import Sql
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e


def test_model_outage_gives_the_fallback_message_and_recovers(
    stack: Stack, make_user_client: Callable[[str], UserClient]
) -> None:
    user = make_user_client("patient")
    session = open_session(user)
    model = kill(stack, "model")
    try:
        failed = answer(user, session, "Is anybody there?")
    finally:
        model.start()
    assert (failed["status"], failed["content"]) == ("failed", FALLBACK_RESPONSE)
    assert failed["metadata"]["fallback"] is True
    stored = user.client.get(f"/api/v1/chat/sessions/{session}").json()["messages"][1]
    assert (stored["id"], stored["status"]) == (failed["id"], "failed")
    assert stored["metadata"]["fallback"] is True
    assert answer(user, session, "And now?")["status"] == "complete"


def test_stopping_service_completes_the_running_turn(
    stack: Stack, make_user_client: Callable[[str], UserClient]
) -> None:
    user = make_user_client("unhurried")
    session = open_session(user)
    model, service = process(stack, "model"), component(stack, "chat-service")
    model.suspend()
    with ThreadPoolExecutor(2) as pool:
        # A short answer: on a busy machine, the model must finish it within the grace period.
        future = pool.submit(ask, user, session, "Hi", max_tokens=4)
        _wait_until_pending(stack, session)
        stopped = pool.submit(service.stop)
        time.sleep(0.5)
        assert not stopped.done()
        model.resume()
        response = future.result()
        stopped.result()
    service.start()
    assert response.status_code == 200, response.text
    assert response.json()["ai_response"]["status"] == "complete"
    stored = user.client.get(f"/api/v1/chat/sessions/{session}").json()["messages"]
    assert [message["status"] for message in stored] == ["complete", "complete"]


def test_stored_answer_survives_a_killed_service(stack: Stack, make_user_client: Callable[[str], UserClient]) -> None:
    user = make_user_client("survivor")
    session = open_session(user)
    content = answer(user, session, "Hi")["content"]
    service = kill(stack, "chat-service")
    assert_gateway_problem(user.client.get(f"/api/v1/chat/sessions/{session}"), 502, "bad_gateway")
    assert user.client.get("/health").json()["status"] == "degraded"
    assert user.client.get("/api/v1/auth/me").status_code == 200
    service.start()
    stored = user.client.get(f"/api/v1/chat/sessions/{session}").json()["messages"]
    assert [message["content"] for message in stored] == ["Hi", content]


def test_killed_worker_is_reported_as_failure(stack: Stack) -> None:
    worker = component(stack, "worker")
    assert stack.failures() == {}
    process(stack, "worker").kill()
    wait_until(lambda: worker in stack.failures())
    worker.stop()
    worker.start()


def _wait_until_pending(stack: Stack, session: str) -> None:
    database = Sql(stack.owner_database_url)
    statement = (
        "SELECT count(*) FROM chat_messages JOIN chat_sessions ON chat_sessions.id = session_id"
        " WHERE chat_sessions.uuid = %s AND status = 'pending'"
    )
    wait_until(lambda: database.value(statement, [session]))
    database.close()
