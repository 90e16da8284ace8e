"""Deletion of messages with everything that follows them."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from redis import Redis

from tests.chat.sessions.branch_requests import messages_of, regenerate, send, sent_texts, texts
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat
from tests.support.provider import Provider

NOBODYS = str(uuid4())


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


def test_deletion_locks_the_account_before_the_session(chat: Chat, numbered: Provider, sql: Sql) -> None:
    session = chat.open()
    first = send(chat, session, "Q1")
    path = f"/sessions/{session}/messages/{first['user_message']['id']}"
    with ThreadPoolExecutor(1) as pool:
        sql.do("BEGIN")
        try:
            # As the erasure of the account does.
            sql.do("SELECT id FROM users FOR UPDATE")
            deletion = pool.submit(chat.request, "DELETE", path)
            sql.wait_for_blocked()
            sql.do("SELECT id FROM chat_sessions FOR UPDATE NOWAIT")
        finally:
            sql.do("ROLLBACK")
        assert deletion.result().json() == {"deleted": 2, "message_count": 0}


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


def test_title_from_a_deleted_first_question_is_removed(chat: Chat, numbered: Provider) -> None:
    session, named = chat.open(), chat.open(title="Plans")
    for one, title in ((session, "New Chat"), (named, "Plans")):
        turn = send(chat, one, "canary")
        assert chat.request("DELETE", f"/sessions/{one}/messages/{turn['user_message']['id']}").is_success
        assert chat.request("GET", f"/sessions/{one}").json()["title"] == title
    send(chat, session, "Another question")
    assert chat.request("GET", f"/sessions/{session}").json()["title"] == "Another question"


def test_a_question_that_follows_an_unanswered_one_can_be_edited(chat: Chat, numbered: Provider) -> None:
    session = chat.open()
    first = send(chat, session, "Q1")
    chat.request("DELETE", f"/sessions/{session}/messages/{first['ai_response']['id']}")
    second = send(chat, session, "Q2")
    assert second["user_message"]["parent_id"] == first["user_message"]["id"]
    regenerate(chat, session, first["user_message"]["id"])
    edited = send(chat, session, "Q2, edited", parent_id=first["user_message"]["id"])
    assert sent_texts(numbered) == ["Q1\n\nQ2, edited"]
    (sibling,) = (m for m in messages_of(chat, session)["messages"] if m["id"] == edited["user_message"]["id"])
    assert sibling["siblings"]["ids"] == [second["user_message"]["id"], edited["user_message"]["id"]]
