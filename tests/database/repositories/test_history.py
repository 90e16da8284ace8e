"""What is read of a session for its next question, and who may write its summary."""

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
    """Store a session of so many messages, with a summary of the first half."""
    uuid = uuid4()
    session = sql.value(
        "INSERT INTO chat_sessions"
        " (uuid, user_id, title, last_seq, message_count, summary, summary_upto_seq, updated_at)"
        " VALUES (%s, %s, '', %s, %s, 'notes', %s, '2026-01-01') RETURNING id",
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
    """Count the rows of messages that the statement looks at."""
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


async def test_a_long_session_is_read_no_further_than_a_short_one(pool: Database, sql: Sql, user_id: int) -> None:
    sessions = {messages: open_session(sql, user_id, messages)[1] for messages in (20, 500)}
    for _ in range(20):
        open_session(sql, user_id, 100)
    sql.do("ANALYZE chat_messages")
    read = {messages: await rows_read(pool, user_id, session, messages) for messages, session in sessions.items()}
    assert read == {20: LIMIT, 500: LIMIT}


async def test_the_newest_messages_come_with_the_summary_and_to_their_owner_only(
    pool: Database, sql: Sql, user_id: int
) -> None:
    _, session = open_session(sql, user_id, 20)
    async with pool.autocommit() as connection:
        messages, summary = await history.load_history(
            connection, user_id=user_id, session_uuid=session, before_seq=20, limit=3, with_summary=True
        )
        assert [message.seq for message in messages] == [17, 18, 19]
        assert summary == StoredSummary("notes", 10)
        assert await history.load_history(
            connection, user_id=user_id, session_uuid=session, before_seq=20, limit=3, with_summary=False
        ) == (messages, None)
        assert await history.load_history(
            connection, user_id=user_id + 1, session_uuid=session, before_seq=20, limit=3, with_summary=True
        ) == ([], None)


class Writers:
    """Those who would go on with the summary of one session."""

    def __init__(self, pool: Database, user_id: int, session_id: int) -> None:
        self._pool = pool
        self._key = {"user_id": user_id, "session_id": session_id}

    async def claim(self, *, upto_seq: int = 18, lease: timedelta = LEASE, **key: int) -> SummaryClaim | None:
        async with self._pool.autocommit() as connection:
            return await history.claim_summary(connection, **(self._key | key), upto_seq=upto_seq, lease=lease)

    async def store(self, claim: SummaryClaim, upto_seq: int = 18) -> bool:
        async with self._pool.autocommit() as connection:
            return await history.store_summary(connection, claim, StoredSummary("more notes", upto_seq))

    async def release(self, claim: SummaryClaim) -> None:
        async with self._pool.autocommit() as connection:
            await history.release_summary(connection, claim)


@pytest.fixture
def writers(pool: Database, sql: Sql, user_id: int) -> Writers:
    return Writers(pool, user_id, open_session(sql, user_id, 20)[0])


def stored(sql: Sql) -> dict[str, Any]:
    (row,) = sql.rows("SELECT summary, summary_upto_seq, summary_lease_expires_at, updated_at FROM chat_sessions")
    return json.loads(json.dumps(row, default=str))  # type: ignore[no-any-return]


async def test_one_at_a_time_goes_on_with_a_summary(writers: Writers, sql: Sql) -> None:
    claim = await writers.claim()
    assert claim is not None
    assert (claim.text, claim.upto_seq) == ("notes", 10)
    assert await writers.claim() is None
    assert await writers.store(claim)
    assert stored(sql) == {
        "summary": "more notes",
        "summary_upto_seq": 18,
        "summary_lease_expires_at": None,
        "updated_at": "2026-01-01 00:00:00+00:00",  # no newer one for that
    }
    assert await writers.claim() is None  # it reaches as far already
    assert await writers.claim(upto_seq=20) is not None


async def test_who_gives_up_leaves_the_summary_to_the_next(writers: Writers, sql: Sql) -> None:
    claim = await writers.claim()
    assert claim is not None
    await writers.release(claim)
    assert stored(sql)["summary"] == "notes"
    assert await writers.claim() is not None


async def test_who_comes_back_after_the_lease_stores_nothing(writers: Writers, sql: Sql) -> None:
    late = await writers.claim(lease=timedelta(seconds=-1))
    assert late is not None
    other = await writers.claim()
    assert other is not None
    assert not await writers.store(late)
    await writers.release(late)
    assert stored(sql)["summary"] == "notes"
    assert await writers.claim() is None
    assert await writers.store(other)


async def test_the_summary_of_somebody_elses_session_cannot_be_claimed(writers: Writers, user_id: int) -> None:
    assert await writers.claim(user_id=user_id + 1) is None


async def test_what_is_deleted_meanwhile_gets_no_summary(writers: Writers, sql: Sql) -> None:
    claim = await writers.claim()
    assert claim is not None
    sql.do("DELETE FROM chat_sessions")
    assert not await writers.store(claim)
