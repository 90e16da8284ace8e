"""Answers under way in all sessions of a user."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.fixtures.database import Sql
from tests.fixtures.services import Chat
from tests.support.provider import Provider, held
from tests.support.waiting import closed_gate


def active(chat: Chat) -> list[dict[str, Any]]:
    response = chat.request("GET", "/active")
    assert response.status_code == 200, response.text
    return list(response.json()["answers"])


def test_answers_under_way_are_listed_newest_first(chat: Chat, others_chat: Chat, provider: Provider) -> None:
    idle, first, second = chat.open(), chat.open(), chat.open()
    chat.ask(idle, "Hi")
    assert active(chat) == []
    with ThreadPoolExecutor(2) as pool, closed_gate() as gate:
        provider.script(held(gate), held(gate))
        turns = []
        for count, session in enumerate((first, second), 2):
            turns.append(pool.submit(chat.ask, session, "Hi"))
            provider.wait_for_calls(count)
        chat.request("PATCH", f"/sessions/{first}", json={"is_archived": True})
        shown = active(chat)
        assert active(others_chat) == []
        gate.set()
        answers = [turn.result()["ai_response"] for turn in turns]
    assert [(one["session_id"], one["message_id"]) for one in shown] == [
        (second, answers[1]["id"]),
        (first, answers[0]["id"]),
    ]
    assert {(one["status"], one["model"]) for one in shown} == {("pending", "gpt-primary")}
    assert active(chat) == []


def test_orphaned_answers_are_not_under_way(chat: Chat, sql: Sql) -> None:
    session = chat.open()
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status, lease_expires_at)"
        " SELECT gen_random_uuid(), id, 1, 'assistant', '', 'pending', now() + interval '20 s' FROM chat_sessions"
    )
    assert [one["session_id"] for one in active(chat)] == [session]
    sql.do("UPDATE chat_messages SET lease_expires_at = now() - interval '1 s'")
    assert active(chat) == []


def test_at_most_100_answers_are_returned(chat: Chat, sql: Sql) -> None:
    sql.do(
        """
        WITH made AS (
            INSERT INTO chat_sessions (uuid, user_id, title)
            SELECT gen_random_uuid(), (SELECT id FROM users WHERE username = 'ada'), 't' FROM generate_series(1, 110)
            RETURNING id
        )
        INSERT INTO chat_messages (uuid, session_id, seq, role, content, status, lease_expires_at)
        SELECT gen_random_uuid(), id, 1, 'assistant', '', 'streaming', now() + interval '20 s' FROM made
        """
    )
    assert len(active(chat)) == 100
