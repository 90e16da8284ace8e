"""Conversation history and claims of the summary."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.database.connection import Database
from app.database.repositories.chat import history
from app.database.repositories.chat.history import StoredSummary, SummaryClaim
from tests.fixtures.database import Sql

LEASE = timedelta(seconds=30)
LIMIT = 10


@pytest.fixture
def user_id(sql: Sql) -> int:
    return int(
        sql.value(
            "INSERT INTO users (uuid, email, username, password_hash)"
            " VALUES (gen_random_uuid(), 'ada@example.com', 'ada', '') RETURNING id"
        )
    )


def open_session(sql: Sql, user_id: int, messages: int) -> tuple[int, UUID]:
    """Insert a session with `messages` messages and a summary of the first half."""
    uuid = uuid4()
    session = sql.value(
        "INSERT INTO chat_sessions"
        " (uuid, user_id, title, last_seq, message_count, summary, summary_upto_seq, updated_at)"
        " VALUES (%s, %s, '', %s, %s, 'summary', %s, '2026-01-01') RETURNING id",
        [uuid, user_id, messages, messages, messages // 2],
    )
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)"
        " SELECT gen_random_uuid(), %s, n, CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, 'text', 'complete'"
        " FROM generate_series(1, %s) AS n",
        [session, messages],
    )
    return int(session), uuid


async def rows_read(pool: Database, user_id: int, session: UUID, messages: int) -> int:
    """Return the number of message rows that the statement reads."""
    values = {"p_session_uuid": session, "p_user_id": user_id, "p_before_seq": messages + 1, "p_limit": LIMIT}
    statement = history._NEWEST_WITH_SUMMARY
    async with pool.driver_connection() as connection:
        explained = await connection.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", *statement.arguments(values)
        )
    (plan,) = explained
    return sum(
        node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        for node in nodes_of(plan["Plan"])
        if node.get("Relation Name") == "chat_messages"
    )


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes_of(child))]


async def test_the_number_of_rows_read_does_not_depend_on_session_length(
    pool: Database, sql: Sql, user_id: int
) -> None:
    sessions = {messages: open_session(sql, user_id, messages)[1] for messages in (20, 500)}
    for _ in range(20):
        open_session(sql, user_id, 100)
    sql.do("ANALYZE chat_messages")
    read = {messages: await rows_read(pool, user_id, session, messages) for messages, session in sessions.items()}
    assert read == {20: LIMIT, 500: LIMIT}


async def test_history_has_newest_messages_and_summary_and_is_restricted_to_the_owner(
    pool: Database, sql: Sql, user_id: int
) -> None:
    _, session = open_session(sql, user_id, 20)
    async with pool.autocommit() as connection:
        messages, summary = await history.load_history(
            connection, user_id=user_id, session_uuid=session, before_seq=20, limit=3, with_summary=True
        )
        assert [message.seq for message in messages] == [17, 18, 19]
        assert summary == StoredSummary("summary", 10)
        assert await history.load_history(
            connection, user_id=user_id, session_uuid=session, before_seq=20, limit=3, with_summary=False
        ) == (messages, None)
        assert await history.load_history(
            connection, user_id=user_id + 1, session_uuid=session, before_seq=20, limit=3, with_summary=True
        ) == ([], None)


class SummaryWriter:
    """Claims, stores and releases the summary of a session."""

    def __init__(self, pool: Database, user_id: int, session_id: int) -> None:
        self._pool = pool
        self._key = {"user_id": user_id, "session_id": session_id}

    async def claim(self, *, upto_seq: int = 18, lease: timedelta = LEASE, **key: int) -> SummaryClaim | None:
        async with self._pool.autocommit() as connection:
            return await history.claim_summary(connection, **(self._key | key), upto_seq=upto_seq, lease=lease)

    async def store(self, claim: SummaryClaim, upto_seq: int = 18) -> bool:
        async with self._pool.autocommit() as connection:
            return await history.store_summary(connection, claim, StoredSummary("longer summary", upto_seq))

    async def release(self, claim: SummaryClaim) -> None:
        async with self._pool.autocommit() as connection:
            await history.release_summary(connection, claim)


@pytest.fixture
def writer(pool: Database, sql: Sql, user_id: int) -> SummaryWriter:
    return SummaryWriter(pool, user_id, open_session(sql, user_id, 20)[0])


def stored(sql: Sql) -> dict[str, Any]:
    (row,) = sql.rows("SELECT summary, summary_upto_seq, summary_lease_expires_at, updated_at FROM chat_sessions")
    return json.loads(json.dumps(row, default=str))  # type: ignore[no-any-return]


async def test_a_claimed_summary_cannot_be_claimed_again_until_stored(writer: SummaryWriter, sql: Sql) -> None:
    claim = await writer.claim()
    assert claim is not None
    assert (claim.text, claim.upto_seq) == ("summary", 10)
    assert await writer.claim() is None
    assert await writer.store(claim)
    assert stored(sql) == {
        "summary": "longer summary",
        "summary_upto_seq": 18,
        "summary_lease_expires_at": None,
        "updated_at": "2026-01-01 00:00:00+00:00",  # unchanged
    }
    assert await writer.claim() is None  # it covers this position
    assert await writer.claim(upto_seq=20) is not None


async def test_a_released_summary_can_be_claimed_again(writer: SummaryWriter, sql: Sql) -> None:
    claim = await writer.claim()
    assert claim is not None
    await writer.release(claim)
    assert stored(sql)["summary"] == "summary"
    assert await writer.claim() is not None


async def test_an_expired_summary_claim_has_no_effect(writer: SummaryWriter, sql: Sql) -> None:
    expired = await writer.claim(lease=timedelta(seconds=-1))
    assert expired is not None
    current = await writer.claim()
    assert current is not None
    assert not await writer.store(expired)
    await writer.release(expired)
    assert stored(sql)["summary"] == "summary"
    assert await writer.claim() is None
    assert await writer.store(current)


async def test_the_summary_of_another_users_session_cannot_be_claimed(writer: SummaryWriter, user_id: int) -> None:
    assert await writer.claim(user_id=user_id + 1) is None


async def test_no_summary_is_stored_for_a_deleted_session(writer: SummaryWriter, sql: Sql) -> None:
    claim = await writer.claim()
    assert claim is not None
    sql.do("DELETE FROM chat_sessions")
    assert not await writer.store(claim)
