"""Questions that PostgreSQL has stored although its confirmation was lost: repeated requests store none twice."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import HTTPError, Response

from app import main
from app.config import Settings
from tests.chat.turns.quota_requests import set_quota, tokens_today
from tests.fixtures.database import Sql
from tests.fixtures.processes import ChatProcess
from tests.fixtures.services import CHAT, Chat, User, assert_problem
from tests.support.postgres_proxy import Loss, PostgresProxy, postgres_proxy
from tests.support.provider import Provider
from tests.support.waiting import LONGEST_WAIT, wait_until

QUESTION = "Is this stored?"
COMPLETION: dict[str, Any] = {"model": "gpt-primary", "messages": [{"role": "user", "content": QUESTION}]}
ROUTES = [
    "plain",
    "streamed",
    "in a new session",
    "edited",
    "edited, streamed",
    "answered once more",
    "answered once more, streamed",
    "chat completion in a session",
    "chat completion in a session, streamed",
]
ANSWERS = """
SELECT answer.status FROM chat_messages AS answer JOIN chat_messages AS question ON answer.parent_id = question.id
WHERE question.content = %s
"""


@pytest.fixture(scope="module")
def proxy(settings: Settings) -> Iterator[PostgresProxy]:
    with postgres_proxy(settings.DATABASE_URL) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def service_behind_proxy(settings: Settings, proxy: PostgresProxy) -> Iterator[TestClient]:
    with TestClient(main.create(settings.model_copy(update={"DATABASE_URL": proxy.url}))) as client:
        yield client


@dataclass
class Requests:
    """A request with its key, which can be repeated."""

    client: TestClient
    user: User
    path: str
    body: dict[str, Any]
    key: str

    def send(self, client: Any = None) -> Response:  # noqa: ANN401 - a client with the same interface
        headers = self.user.headers | {"Idempotency-Key": self.key}
        response: Response = (client or self.client).post(self.path, json=self.body, headers=headers)
        return response

    def repeat(self, client: Any = None) -> Response:  # noqa: ANN401 - as above
        """Send the request, as the responses advise, until it is answered."""
        deadline = time.monotonic() + LONGEST_WAIT
        while not (response := self.send(client)).is_success:
            assert response.status_code in {409, 503}, response.text
            assert response.json()["code"] in {"idempotency_in_progress", "turn_interrupted", "database_unavailable"}
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return response


def requests_for(chat: Chat, client: TestClient, route: str) -> Requests:
    """Return a request whose question is `QUESTION`, with all that it needs stored before."""
    path = f"{CHAT}/sessions"
    body: dict[str, Any] = {"title": "New", "initial_message": QUESTION}
    if route != "in a new session":
        session = chat.open(title="Test")
        path, body = f"{CHAT}/sessions/{session}/messages", {"message": QUESTION}
        if route.startswith("edited"):
            chat.ask(session, "What is stored?")
            body |= {"parent_id": None}
        elif route.startswith("answered once more"):
            message = chat.ask(session, QUESTION)["user_message"]["id"]
            path, body = f"{path}/{message}/regenerate", {}
        elif route.startswith("chat completion"):
            path, body = "/v1/chat/completions", {**COMPLETION, "metadata": {"session_id": session}}
    if route.endswith("streamed"):
        if "completion" in route:
            body |= {"stream": True}
        else:
            path += "/stream"
    return Requests(client, chat.user, path, body, str(uuid4()))


def count_of_questions(sql: Sql) -> int:
    return int(sql.value("SELECT count(*) FROM chat_messages WHERE role = 'user' AND content = %s", [QUESTION]))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("loss", ["statement", "confirmation"])
def test_repeated_request_stores_the_question_once_and_gets_its_answer(
    chat: Chat,
    service_behind_proxy: TestClient,
    proxy: PostgresProxy,
    provider: Provider,
    sql: Sql,
    route: str,
    loss: Loss,
) -> None:
    requests = requests_for(chat, service_behind_proxy, route)
    answers_before, calls_before, lost_before = len(sql.rows(ANSWERS, [QUESTION])), len(provider.calls), proxy.lost
    proxy.lose(loss, requests.key)
    assert_problem(requests.send(), 503, "database_unavailable")
    assert proxy.lost == lost_before + 1
    first, again = requests.repeat(), requests.send()
    assert count_of_questions(sql) == 1
    assert first.headers.get("Idempotent-Replayed") == ("true" if loss == "confirmation" else None)
    assert again.is_success
    assert again.headers["Idempotent-Replayed"] == "true"
    statuses = [row["status"] for row in sql.rows(ANSWERS, [QUESTION])]
    assert statuses == ["complete"] * (answers_before + 1)
    assert sql.value("SELECT count(*) FROM chat_sessions") == 1
    assert len(provider.calls) == calls_before + 1


@pytest.mark.parametrize("path", [f"{CHAT}/direct", f"{CHAT}/direct/stream", "/v1/chat/completions"])
@pytest.mark.parametrize("loss", ["statement", "confirmation"])
def test_repeated_direct_question_is_answered_once(
    chat: Chat, service_behind_proxy: TestClient, proxy: PostgresProxy, provider: Provider, path: str, loss: Loss
) -> None:
    body = COMPLETION if path.startswith("/v1") else {"message": QUESTION}
    requests = Requests(service_behind_proxy, chat.user, path, body, str(uuid4()))
    proxy.lose(loss, requests.key)
    assert_problem(requests.send(), 503, "database_unavailable")
    assert requests.repeat().is_success
    assert requests.send().headers["Idempotent-Replayed"] == "true"
    assert len(provider.calls) == 1


def test_unconfirmed_question_without_key_is_answered_and_its_session_is_usable(
    chat: Chat, service_behind_proxy: TestClient, proxy: PostgresProxy, sql: Sql
) -> None:
    session = chat.open()
    path = f"/sessions/{session}/messages"
    proxy.lose("confirmation", QUESTION)
    behind_proxy = Chat(service_behind_proxy, chat.user)
    assert_problem(behind_proxy.request("POST", path, json={"message": QUESTION}), 503, "database_unavailable")
    wait_until(lambda: [row["status"] for row in sql.rows(ANSWERS, [QUESTION])] == ["complete"])
    assert chat.ask(session, "And now?")["ai_response"]["status"] == "complete"
    assert [message["content"] for message in chat.messages(session)] == [QUESTION, "Hello.", "And now?", "Hello."]


@pytest.mark.parametrize("path", ["/sessions/{}/messages", "/direct"])
@pytest.mark.parametrize("loss", ["statement", "confirmation"])
def test_quota_of_an_unconfirmed_question_is_not_reserved_for_ever(
    chat: Chat, service_behind_proxy: TestClient, proxy: PostgresProxy, sql: Sql, path: str, loss: Loss
) -> None:
    set_quota(sql, chat.user, tokens_per_day=100_000)
    requests = Requests(
        service_behind_proxy, chat.user, CHAT + path.format(chat.open()), {"message": QUESTION}, str(uuid4())
    )
    proxy.lose(loss, requests.key)
    assert_problem(requests.send(), 503, "database_unavailable")
    wait_until(lambda: tokens_today(chat)[1] == 0)
    assert requests.repeat().is_success
    assert tokens_today(chat)[1] == 0


@pytest.mark.parametrize("route", ["plain", "in a new session"])
def test_question_of_a_process_killed_before_the_confirmation_is_stored_once(
    chat: Chat, chat_client: TestClient, settings: Settings, home: Path, proxy: PostgresProxy, sql: Sql, route: str
) -> None:
    requests = requests_for(chat, chat_client, route)
    process = ChatProcess(settings.model_copy(update={"DATABASE_URL": proxy.url}), home)
    try:
        proxy.lose("confirmation without an error", requests.key)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(requests.send, process.client)
            wait_until(lambda: count_of_questions(sql) == 1)
            process.kill()
            assert isinstance(first.exception(), HTTPError)
    finally:
        process.stop()
    message_id = assert_problem(requests.send(), 409, "idempotency_in_progress")["message_id"]
    sql.do("UPDATE chat_messages SET lease_expires_at = now() WHERE status = 'pending'")
    answer = requests.repeat().json()["ai_response"]
    assert (answer["id"], answer["status"]) == (message_id, "interrupted")
    assert requests.send().status_code in {HTTPStatus.OK, HTTPStatus.CREATED}
    assert count_of_questions(sql) == 1
    assert sql.value("SELECT count(*) FROM chat_sessions") == 1
