"""Requests about branches that are refused, or repeated."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from app.config import Settings
from tests.chat.sessions.branch_requests import regenerate, send
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers

NOBODYS = str(uuid4())


@pytest.mark.parametrize(
    "request_to",
    [
        pytest.param(lambda chat, session, message: chat.request("GET", f"/sessions/{session}/messages"), id="page"),
        pytest.param(
            lambda chat, session, message: chat.request(
                "PUT", f"/sessions/{session}/active", json={"message_id": message}
            ),
            id="select",
        ),
        pytest.param(
            lambda chat, session, message: chat.request("DELETE", f"/sessions/{session}/messages/{message}"),
            id="delete",
        ),
        pytest.param(
            lambda chat, session, message: chat.request("POST", f"/sessions/{session}/messages/{message}/regenerate"),
            id="regenerate",
        ),
        pytest.param(
            lambda chat, session, message: chat.request(
                "POST", f"/sessions/{session}/messages/{message}/regenerate/stream"
            ),
            id="regenerate as a stream",
        ),
    ],
)
def test_sessions_and_messages_of_other_users_do_not_exist(
    chat: Chat, others_chat: Chat, numbered: Provider, sql: Sql, request_to: Callable[[Chat, str, str], Any]
) -> None:
    session = chat.open()
    message = send(chat, session, "Q1")["ai_response"]["id"]
    assert_problem(request_to(others_chat, session, message), 404, "not_found")
    assert_problem(request_to(chat, NOBODYS, message), 404, "not_found")
    assert sql.value("SELECT count(*) FROM chat_messages") == 2


@pytest.mark.parametrize("method", ["select", "delete", "regenerate"])
def test_messages_of_other_sessions_do_not_exist(chat: Chat, numbered: Provider, sql: Sql, method: str) -> None:
    session, other = chat.open(), chat.open()
    send(chat, session, "Q1")
    foreign = send(chat, other, "Q1")["ai_response"]["id"]
    for message in (foreign, NOBODYS):
        response = {
            "select": lambda message=message: chat.request(
                "PUT", f"/sessions/{session}/active", json={"message_id": message}
            ),
            "delete": lambda message=message: chat.request("DELETE", f"/sessions/{session}/messages/{message}"),
            "regenerate": lambda message=message: chat.request(
                "POST", f"/sessions/{session}/messages/{message}/regenerate"
            ),
        }[method]()
        assert_problem(response, 404, "not_found")
    assert sql.value("SELECT count(*) FROM chat_messages") == 4


def test_a_parent_must_be_an_answer_of_the_session(chat: Chat, numbered: Provider, sql: Sql) -> None:
    session, other = chat.open(), chat.open()
    turn = send(chat, session, "Q1")
    foreign = send(chat, other, "Q1")["ai_response"]["id"]
    for parent in (turn["user_message"]["id"], foreign, NOBODYS):
        response = chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi", "parent_id": parent})
        assert_problem(response, 422, "validation_error")
        assert response.json()["errors"][0]["field"] == "body.parent_id"
    assert sql.value("SELECT count(*) FROM chat_messages") == 4
    assert sql.value("SELECT count(*) FROM quota_reservations") == 0


def test_a_direct_question_has_no_parent(chat: Chat) -> None:
    response = chat.request("POST", "/direct", json={"message": "Hi", "parent_id": None})
    assert_problem(response, 422, "validation_error")


def test_versions_of_other_messages_do_not_count(chat: Chat, numbered: Provider, sql: Sql) -> None:
    session, other = chat.open(), chat.open()
    turn = send(chat, session, "Q1")
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)"
        " SELECT gen_random_uuid(), id, n, CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, '', 'complete'"
        " FROM chat_sessions, generate_series(1, 300) AS n WHERE uuid = %s",
        [other],
    )
    regenerate(chat, session, turn["ai_response"]["id"])
    send(chat, session, "Q1, edited", parent_id=None)
    send(chat, session, "Q2", parent_id=turn["ai_response"]["id"])


def test_the_number_of_versions_is_limited(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.always(answers("Hi"))
    session = chat.open()
    turn = send(chat, session, "Q1")
    for role, parent in (
        ("assistant", turn["user_message"]["id"]),
        ("user", None),
        ("user", turn["ai_response"]["id"]),
    ):
        sql.do(
            "INSERT INTO chat_messages (uuid, session_id, seq, parent_id, depth, role, content, status)"
            " SELECT gen_random_uuid(), session.id, last_seq + n, parent.id, CASE WHEN parent.id IS NULL THEN 1 END,"
            " %s, 'x', 'complete' FROM chat_sessions AS session"
            " LEFT JOIN chat_messages AS parent ON parent.uuid = %s::uuid, generate_series(1, 100) AS n",
            [role, parent],
        )
        sql.do("UPDATE chat_sessions SET last_seq = last_seq + 100, message_count = message_count + 100")
    for response in (
        chat.request("POST", f"/sessions/{session}/messages/{turn['user_message']['id']}/regenerate"),
        chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi", "parent_id": None}),
        chat.request(
            "POST", f"/sessions/{session}/messages", json={"message": "Hi", "parent_id": turn["ai_response"]["id"]}
        ),
    ):
        assert_problem(response, 409, "too_many_versions")
    assert sql.value("SELECT count(*) FROM chat_messages") == 302


@pytest.mark.parametrize("is_answer", [False, True], ids=["regenerated question", "parent"])
def test_a_message_deleted_while_the_session_is_locked_does_not_exist(
    chat: Chat, numbered: Provider, sql: Sql, settings: Settings, *, is_answer: bool
) -> None:
    session = chat.open()
    turn = send(chat, session, "Q1")
    path = f"/sessions/{session}/messages"
    with psycopg2.connect(settings.DATABASE_URL) as blocker, blocker.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("SELECT FROM chat_sessions FOR UPDATE")
        if is_answer:
            body = {"message": "Q2", "parent_id": turn["ai_response"]["id"]}
            asked = pool.submit(chat.request, "POST", path, json=body)
        else:
            asked = pool.submit(chat.request, "POST", f"{path}/{turn['user_message']['id']}/regenerate")
        sql.wait_for_blocked()
        cursor.execute("DELETE FROM chat_messages")
        blocker.commit()
        if is_answer:
            assert_problem(asked.result(), 422, "validation_error")
        else:
            assert_problem(asked.result(), 404, "not_found")
    assert sql.value("SELECT count(*) FROM chat_messages") == 0


def test_regeneration_honours_idempotency_keys(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    turn = send(chat, session, "Q1")
    path = f"/sessions/{session}/messages/{turn['ai_response']['id']}/regenerate"
    first, second = (chat.request("POST", path, headers={"Idempotency-Key": "again"}) for _ in range(2))
    assert first.content == second.content
    assert len(numbered.calls) == 2
    edited = f"/sessions/{session}/messages"
    body = {"message": "Q1, edited", "parent_id": None}
    first, second = (chat.request("POST", edited, json=body, headers={"Idempotency-Key": "edit"}) for _ in range(2))
    assert first.content == second.content
    assert len(numbered.calls) == 3
