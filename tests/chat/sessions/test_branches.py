"""Branches of a session: edited questions, other answers, pages, selection and deletion."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from redis import Redis

from app.config import Settings
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, answers, echoes

NOBODYS = str(uuid4())


def messages_of(chat: Chat, session: str, **query: object) -> dict[str, Any]:
    response = chat.request("GET", f"/sessions/{session}/messages", params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


def texts(page: dict[str, Any]) -> list[str]:
    return [message["content"] for message in page["messages"]]


def send(chat: Chat, session: str, message: str, **more: object) -> dict[str, Any]:
    response = chat.request("POST", f"/sessions/{session}/messages", json={"message": message, **more})
    assert response.status_code == 200, response.text
    turn: dict[str, Any] = response.json()
    return turn


def regenerate(chat: Chat, session: str, message: str, **options: object) -> dict[str, Any]:
    response = chat.request("POST", f"/sessions/{session}/messages/{message}/regenerate", json=options)
    assert response.status_code == 200, response.text
    turn: dict[str, Any] = response.json()
    return turn


@pytest.fixture
def numbered(provider: Provider) -> Provider:
    """A model that answers A1, A2, ..."""
    provider.script(*(answers(f"A{number}") for number in range(1, 20)))
    return provider


def sent_texts(provider: Provider) -> list[str]:
    """Return what the last call sent, without the instructions."""
    return [message["content"] for message in provider.calls[-1].body["messages"] if message["role"] != "system"]


def test_questions_follow_the_active_branch(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    first, second = send(chat, session, "Q1"), send(chat, session, "Q2")
    assert first["user_message"]["parent_id"] is None
    assert second["user_message"]["parent_id"] == first["ai_response"]["id"]
    assert second["ai_response"]["parent_id"] == second["user_message"]["id"]
    page = messages_of(chat, session)
    assert texts(page) == ["Q1", "A1", "Q2", "A2"]
    assert (page["has_older"], page["has_newer"]) == (False, False)
    assert [message["parent_id"] for message in page["messages"]][1:] == [
        message["id"] for message in page["messages"]
    ][:-1]


def test_edited_question_is_a_sibling_with_an_answer_and_history_of_its_own(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    first, second = send(chat, session, "Q1"), send(chat, session, "Q2")
    send(chat, session, "Q3")
    edited = send(chat, session, "Q2, edited", parent_id=first["ai_response"]["id"])
    assert sent_texts(numbered) == ["Q1", "A1", "Q2, edited"]
    page = messages_of(chat, session)
    assert texts(page) == ["Q1", "A1", "Q2, edited", "A4"]
    ids = [second["user_message"]["id"], edited["user_message"]["id"]]
    assert page["messages"][2]["siblings"] == {"index": 1, "count": 2, "ids": ids}
    assert page["messages"][0]["siblings"]["count"] == 1
    assert edited["session_updated"]["message_count"] == 8
    send(chat, session, "Q5")
    assert sent_texts(numbered) == ["Q1", "A1", "Q2, edited", "A4", "Q5"]


def test_edited_first_question_begins_the_conversation_anew(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    send(chat, session, "Q1")
    send(chat, session, "Q1, edited", parent_id=None)
    assert sent_texts(numbered) == ["Q1, edited"]
    page = messages_of(chat, session)
    assert texts(page) == ["Q1, edited", "A2"]
    assert page["messages"][0]["siblings"]["count"] == 2


def test_regenerated_answer_is_a_sibling_with_the_same_history(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    send(chat, session, "Q1")
    second = send(chat, session, "Q2", context={"tone": "casual"})
    again = regenerate(chat, session, second["ai_response"]["id"], temperature=0.9)
    assert sent_texts(numbered) == ["Q1", "A1", "Q2"]
    assert numbered.calls[-1].body["temperature"] == 0.9
    assert again["user_message"] == second["user_message"]
    assert again["ai_response"]["content"] == "A3"
    assert again["session_updated"]["message_count"] == 5
    page = messages_of(chat, session)
    assert texts(page) == ["Q1", "A1", "Q2", "A3"]
    assert page["messages"][3]["siblings"]["ids"] == [second["ai_response"]["id"], again["ai_response"]["id"]]
    by_question = regenerate(chat, session, second["user_message"]["id"])
    assert by_question["ai_response"]["content"] == "A4"


def test_selected_branch_goes_down_to_its_newest_end(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    first, second = send(chat, session, "Q1"), send(chat, session, "Q2")
    send(chat, session, "Q3")
    send(chat, session, "Q2, edited", parent_id=first["ai_response"]["id"])
    updated_at = chat.request("GET", f"/sessions/{session}").json()["updated_at"]
    response = chat.request("PUT", f"/sessions/{session}/active", json={"message_id": second["user_message"]["id"]})
    assert response.status_code == 200, response.text
    assert texts(response.json()) == texts(messages_of(chat, session)) == ["Q1", "A1", "Q2", "A2", "Q3", "A3"]
    detail = chat.request("GET", f"/sessions/{session}").json()
    assert [message["content"] for message in detail["messages"]] == ["Q1", "A1", "Q2", "A2", "Q3", "A3"]
    assert detail["updated_at"] == updated_at
    (listed,) = chat.request("GET", "/sessions").json()["sessions"]
    assert listed["last_message_preview"] == "A3"
    send(chat, session, "Q5")
    assert sent_texts(numbered) == ["Q1", "A1", "Q2", "A2", "Q3", "A3", "Q5"]


def test_pages_go_both_ways_over_the_active_branch(chat: Chat, provider: Provider, sql: Sql) -> None:
    provider.always(echoes())
    session = chat.open()
    turns = [send(chat, session, f"Q{number}") for number in range(5)]
    send(chat, session, "other", parent_id=turns[1]["ai_response"]["id"])
    chat.request("PUT", f"/sessions/{session}/active", json={"message_id": turns[4]["ai_response"]["id"]})
    whole = [message["id"] for message in messages_of(chat, session)["messages"]]
    assert whole == [message["id"] for turn in turns for message in (turn["user_message"], turn["ai_response"])]
    for limit in (1, 2, 3, 4, 10, 200):
        page = messages_of(chat, session, limit=limit)
        backward = [message["id"] for message in page["messages"]]
        while page["has_older"]:
            page = messages_of(chat, session, limit=limit, before=backward[0])
            assert page["has_newer"]
            backward = [message["id"] for message in page["messages"]] + backward
        assert backward == whole
        forward = whole[:1]
        while True:
            page = messages_of(chat, session, limit=limit, after=forward[-1])
            assert page["has_older"]
            assert len(page["messages"]) <= limit
            forward += [message["id"] for message in page["messages"]]
            if not page["has_newer"]:
                break
        assert forward == whole
    assert messages_of(chat, session, before=whole[0])["messages"] == []
    assert messages_of(chat, session, after=whole[-1]) == {"messages": [], "has_older": True, "has_newer": False}


def test_an_empty_session_has_an_empty_page(chat: Chat) -> None:
    assert messages_of(chat, chat.open()) == {"messages": [], "has_older": False, "has_newer": False}


@pytest.mark.parametrize("direction", ["before", "after"])
def test_a_cursor_that_is_not_on_the_active_branch_is_refused(chat: Chat, numbered: Provider, direction: str) -> None:
    session, other = chat.open(), chat.open()
    inactive = send(chat, session, "Q1")["ai_response"]["id"]
    send(chat, session, "Q1, edited", parent_id=None)
    foreign = send(chat, other, "Q1")["ai_response"]["id"]
    for message in (inactive, foreign, NOBODYS):
        response = chat.request("GET", f"/sessions/{session}/messages", params={direction: message})
        assert_problem(response, 422, "validation_error")
        assert response.json()["errors"][0]["field"] == f"query.{direction}"
    response = chat.request("GET", f"/sessions/{session}/messages", params={direction: "x"})
    assert response.status_code == 422


def test_before_and_after_cannot_be_combined(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    message = send(chat, session, "Q1")["ai_response"]["id"]
    response = chat.request("GET", f"/sessions/{session}/messages", params={"before": message, "after": message})
    assert response.status_code == 422


def test_a_page_costs_the_same_number_of_statements_however_long_the_branch_is(chat: Chat, provider: Provider) -> None:
    provider.always(echoes())
    session = chat.open()
    counts = []
    for _ in range(2):
        for number in range(3):
            send(chat, session, f"Q{number}")
        with counted_statements() as statements:
            messages_of(chat, session, limit=2)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_deletion_removes_everything_that_follows_in_all_branches(chat: Chat, numbered: Provider, sql: Sql) -> None:
    session = chat.open()
    first = send(chat, session, "Q1")
    second = send(chat, session, "Q2")
    send(chat, session, "Q3")
    regenerate(chat, session, second["ai_response"]["id"])
    edited = send(chat, session, "Q2, edited", parent_id=first["ai_response"]["id"])
    response = chat.request("DELETE", f"/sessions/{session}/messages/{second['user_message']['id']}")
    assert response.json() == {"deleted": 5, "message_count": 4}
    assert texts(messages_of(chat, session)) == ["Q1", "A1", "Q2, edited", "A5"]
    response = chat.request("DELETE", f"/sessions/{session}/messages/{edited['ai_response']['id']}")
    assert response.json() == {"deleted": 1, "message_count": 3}
    assert texts(messages_of(chat, session)) == ["Q1", "A1", "Q2, edited"]
    assert sql.value("SELECT count(*) FROM chat_messages") == 3
    (listed,) = chat.request("GET", "/sessions").json()["sessions"]
    assert (listed["last_message_preview"], listed["message_count"]) == ("Q2, edited", 3)
    # The conversation goes on after the question that has no answer any more.
    follow_up = send(chat, session, "Q6")
    assert follow_up["user_message"]["parent_id"] == edited["user_message"]["id"]
    assert sent_texts(numbered) == ["Q1", "A1", "Q2, edited\n\nQ6"]


def test_deletion_of_the_only_branch_leaves_an_empty_session(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    first = send(chat, session, "Q1")
    response = chat.request("DELETE", f"/sessions/{session}/messages/{first['user_message']['id']}")
    assert response.json() == {"deleted": 2, "message_count": 0}
    assert messages_of(chat, session)["messages"] == []
    (listed,) = chat.request("GET", "/sessions").json()["sessions"]
    assert (listed["last_message_preview"], listed["last_message_timestamp"]) == (None, None)
    turn = send(chat, session, "Q2")
    assert turn["user_message"]["parent_id"] is None
    assert turn["session_updated"]["message_count"] == 2


def test_deletion_of_the_active_version_selects_the_newest_remaining_one(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    first = send(chat, session, "Q1")
    second = regenerate(chat, session, first["ai_response"]["id"])
    third = regenerate(chat, session, first["ai_response"]["id"])
    chat.request("DELETE", f"/sessions/{session}/messages/{third['ai_response']['id']}")
    page = messages_of(chat, session)
    assert texts(page) == ["Q1", "A2"]
    assert page["messages"][1]["siblings"]["ids"] == [first["ai_response"]["id"], second["ai_response"]["id"]]


def test_deletion_removes_stored_responses_and_stream_buffers(
    chat: Chat, numbered: Provider, sql: Sql, redis: Redis
) -> None:
    session = chat.open()
    path = f"/sessions/{session}/messages"
    headers = {"Idempotency-Key": "key"}
    turn = chat.request("POST", path, json={"message": "canary"}, headers=headers).json()
    redis.set(f"turn:{turn['ai_response']['id']}", "canary")
    chat.request("DELETE", f"{path}/{turn['user_message']['id']}")
    assert sql.value("SELECT count(*) FROM idempotency_keys") == 0
    assert not redis.exists(f"turn:{turn['ai_response']['id']}")


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
