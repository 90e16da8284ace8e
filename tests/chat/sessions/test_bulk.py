"""Deletion and archiving of many sessions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from app.chat.sessions import bulk
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, assert_problem
from tests.support.provider import Provider, held
from tests.support.waiting import closed_gate


def fill(sql: Sql, sessions: int, messages: int = 2) -> None:
    sql.do(
        """
        WITH made AS (
            INSERT INTO chat_sessions (uuid, user_id, title, message_count, last_seq)
            SELECT gen_random_uuid(), (SELECT id FROM users WHERE username = 'ada'), 'filled', %(m)s, %(m)s
            FROM generate_series(1, %(s)s) RETURNING id
        )
        INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
        SELECT gen_random_uuid(), made.id, seq, 'user', 'text', 'complete'
        FROM made, generate_series(1, %(m)s) AS seq
        """,
        {"s": sessions, "m": messages},
    )


def post(chat: Chat, path: str, **body: object) -> dict[str, Any]:
    response = chat.request("POST", path, json=body)
    assert response.status_code == 200, response.text
    return dict(response.json())


def states(chat: Chat) -> dict[str, bool]:
    rows = [
        row
        for archived in ("true", "false")
        for row in chat.request("GET", f"/sessions?size=100&archived={archived}").json()["sessions"]
    ]
    return {row["session_id"]: row["is_archived"] for row in rows}


@pytest.fixture
def events(sql: Sql) -> Callable[[], list[tuple[str, dict[str, Any]]]]:
    """Function that returns the recorded events and deletes them."""
    sql.do(
        "INSERT INTO webhook_endpoints (uuid, url, events)"
        " VALUES (gen_random_uuid(), 'https://example.com', '{session.deleted,session.updated}')"
    )

    def pop() -> list[tuple[str, dict[str, Any]]]:
        rows = sql.rows("DELETE FROM webhook_deliveries RETURNING id, event_id, type, data")
        assert len({row["event_id"] for row in rows}) == len(rows)
        return [(row["type"], row["data"]) for row in sorted(rows, key=lambda row: row["id"])]

    return pop


def test_given_sessions_are_deleted_and_unknown_ids_reported(
    chat: Chat, others_chat: Chat, sql: Sql, events: Callable[[], list[tuple[str, dict[str, Any]]]]
) -> None:
    first, second, kept, foreign, unknown = chat.open(), chat.open(), chat.open(), others_chat.open(), str(uuid4())
    chat.ask(first, "a secret")
    result = post(chat, "/sessions/delete", session_ids=[first, foreign, second, unknown, first])
    assert result == {"changed": 2, "not_found": [foreign, unknown], "is_complete": True}
    assert list(states(chat)) == [kept]
    assert list(states(others_chat)) == [foreign]
    assert sql.value("SELECT count(*) FROM chat_messages") == 0
    assert sql.value("SELECT count(*) FROM llm_calls") == 1  # the ledger is kept
    ids = {"user_id": chat.user.id}
    expected = [
        ("session.deleted", ids | {"session_id": first, "message_count": 2}),
        ("session.deleted", ids | {"session_id": second, "message_count": 0}),
    ]
    assert sorted(events(), key=str) == sorted(expected, key=str)
    again = post(chat, "/sessions/delete", session_ids=[first])
    assert again == {"changed": 0, "not_found": [first], "is_complete": True}
    assert events() == []


def test_all_sessions_of_the_user_are_deleted(chat: Chat, others_chat: Chat, sql: Sql) -> None:
    fill(sql, 1500, messages=4)
    others = others_chat.open()
    chat.request("PATCH", f"/sessions/{chat.open()}", json={"is_archived": True})
    assert post(chat, "/sessions/delete", all=True) == {"changed": 1501, "not_found": [], "is_complete": True}
    assert states(chat) == {}
    assert list(states(others_chat)) == [others]
    assert sql.value("SELECT count(*) FROM chat_messages") == 0


def test_session_with_more_messages_than_a_batch_is_deleted(
    chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "_MESSAGES_PER_DELETION", 10)
    fill(sql, 3, messages=25)
    fill(sql, 7, messages=3)
    assert post(chat, "/sessions/delete", all=True)["changed"] == 10
    assert sql.value("SELECT count(*) FROM chat_sessions") == 0


def test_deletion_without_enough_time_reports_it_and_can_be_repeated(
    chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sql, 5)
    monkeypatch.setattr(bulk, "_SESSIONS_PER_DELETION", 2)
    monkeypatch.setattr(bulk, "_SESSIONS_PER_CHANGE", 2)
    monkeypatch.setattr(bulk, "_MAX_SECONDS", -1.0)
    assert post(chat, "/sessions/delete", all=True) == {"changed": 0, "not_found": [], "is_complete": False}
    assert post(chat, "/sessions/archive", all=True) == {"changed": 0, "not_found": [], "is_complete": False}
    assert len(states(chat)) == 5
    monkeypatch.setattr(bulk, "_MAX_SECONDS", 60.0)
    assert post(chat, "/sessions/archive", all=True) == {"changed": 5, "not_found": [], "is_complete": True}
    assert post(chat, "/sessions/delete", all=True) == {"changed": 5, "not_found": [], "is_complete": True}


def test_sessions_are_archived_and_returned_to_the_list(
    chat: Chat, others_chat: Chat, events: Callable[[], list[tuple[str, dict[str, Any]]]]
) -> None:
    first, second, third = (chat.open() for _ in range(3))
    others = others_chat.open()
    before = {session: chat.request("GET", f"/sessions/{session}").json()["updated_at"] for session in (first, second)}
    result = post(chat, "/sessions/archive", session_ids=[first, second, others])
    assert result == {"changed": 2, "not_found": [others], "is_complete": True}
    assert states(chat) == {first: True, second: True, third: False}
    ids = {"user_id": chat.user.id, "changed": ["is_archived"]}
    assert sorted(events(), key=str) == sorted(
        [("session.updated", ids | {"session_id": session}) for session in (first, second)], key=str
    )
    assert post(chat, "/sessions/archive", all=True)["changed"] == 1
    assert len(events()) == 1
    assert post(chat, "/sessions/archive", all=True)["changed"] == 0
    assert post(chat, "/sessions/archive", all=True, archived=False)["changed"] == 3
    assert set(states(chat).values()) == {False}
    assert states(others_chat) == {others: False}
    after = {session: chat.request("GET", f"/sessions/{session}").json()["updated_at"] for session in (first, second)}
    assert after == before


@pytest.mark.parametrize("path", ["/sessions/delete", "/sessions/archive"])
@pytest.mark.parametrize(
    "body",
    [
        {},
        {"all": False},
        {"all": None},
        {"all": 1},
        {"session_ids": []},
        {"session_ids": None},
        {"session_ids": ["x"]},
        {"session_ids": [str(uuid4())] * 1001},
        {"session_ids": [str(uuid4())], "all": True},
        {"all": True, "archived": None},
        {"all": True, "user_id": 1},
    ],
)
def test_invalid_selections_are_refused_and_change_nothing(chat: Chat, path: str, body: dict[str, object]) -> None:
    session = chat.open()
    assert_problem(chat.request("POST", path, json=body), 422, "validation_error")
    assert states(chat) == {session: False}


def test_answer_under_way_in_a_deleted_session_is_not_stored(chat: Chat, sql: Sql, provider: Provider) -> None:
    session = chat.open()
    with ThreadPoolExecutor(1) as pool, closed_gate() as gate:
        provider.script(held(gate))
        turn = pool.submit(chat.request, "POST", f"/sessions/{session}/messages", json={"message": "Hi"})
        provider.wait_for_calls(1)
        assert post(chat, "/sessions/delete", all=True)["changed"] == 1
        gate.set()
        assert_problem(turn.result(), 404, "not_found")
    assert sql.value("SELECT count(*) FROM chat_messages") == 0


def test_concurrent_deletions_delete_each_session_once(chat: Chat, sql: Sql) -> None:
    fill(sql, 600)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: post(chat, "/sessions/delete", all=True), range(3)))
    assert sum(result["changed"] for result in results) == 600
    assert sql.value("SELECT count(*) FROM chat_sessions") == 0


def test_redis_gets_a_tombstone_for_each_deleted_session(chat: Chat, redis: Redis) -> None:
    sessions = [chat.open() for _ in range(3)]
    redis.zadd(f"session:{sessions[0]}:cache", {"cache:answer": 1.0})
    redis.set("cache:answer", "a secret")
    post(chat, "/sessions/delete", session_ids=sessions)
    assert all(redis.exists(f"session:{session}:deleted") for session in sessions)
    assert redis.get("cache:answer") is None
