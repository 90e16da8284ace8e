"""Conversation history and claims of the summary, each of one branch."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.database.connection import Database
from app.database.repositories.chat import history, summaries
from app.database.repositories.chat.history import StoredSummary
from app.database.repositories.chat.summaries import MAX_SUMMARIES, SummaryClaim
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
    """Insert a session with `messages` messages in one branch, and a summary of the first half."""
    uuid = uuid4()
    session = sql.value(
        "INSERT INTO chat_sessions (uuid, user_id, title, last_seq, message_count, updated_at)"
        " VALUES (%s, %s, '', %s, %s, '2026-01-01') RETURNING id",
        [uuid, user_id, messages, messages],
    )
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)"
        " SELECT gen_random_uuid(), %s, n, CASE n %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END, 'text', 'complete'"
        " FROM generate_series(1, %s) AS n",
        [session, messages],
    )
    sql.do(
        "INSERT INTO chat_summaries (message_id, session_id, depth, content)"
        " SELECT id, session_id, depth, 'summary' FROM chat_messages WHERE session_id = %s AND seq = %s",
        [session, messages // 2],
    )
    return int(session), uuid


def message_at(sql: Sql, session_id: int, seq: int) -> UUID:
    uuid: UUID = sql.value("SELECT uuid FROM chat_messages WHERE session_id = %s AND seq = %s", [session_id, seq])
    return uuid


def edit_question(sql: Sql, session_id: int, seq: int, new_seq: int) -> UUID:
    """Insert a sibling of a question with an answer of its own, and return the id of the answer."""
    sql.do(
        "INSERT INTO chat_messages (uuid, session_id, seq, parent_id, depth, role, content, status)"
        " SELECT gen_random_uuid(), session_id, %s, parent_id, depth, 'user', 'edited', 'complete' FROM chat_messages"
        " WHERE session_id = %s AND seq = %s",
        [new_seq, session_id, seq],
    )
    uuid: UUID = sql.value(
        "INSERT INTO chat_messages (uuid, session_id, seq, parent_id, role, content, status)"
        " SELECT gen_random_uuid(), session_id, seq + 1, id, 'assistant', 'other', 'complete' FROM chat_messages"
        " WHERE session_id = %s AND seq = %s RETURNING uuid",
        [session_id, new_seq],
    )
    return uuid


async def rows_read(pool: Database, user_id: int, session: UUID, last: UUID, messages: int) -> int:
    """Return the number of message rows that the statement reads."""
    values = {
        "p_session_uuid": session,
        "p_user_id": user_id,
        "p_question_uuid": last,
        "p_before_depth": messages,
        "p_limit": LIMIT,
    }
    statement = history._MESSAGES_AND_SUMMARY
    async with pool.driver_connection() as connection:
        explained = await connection.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}", *statement.arguments(values)
        )
    (plan,) = explained
    return sum(
        node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
        for node in nodes_of(plan["Plan"])
        if node.get("Relation Name") == "chat_messages"
    )


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes_of(child))]


async def test_the_number_of_rows_read_does_not_depend_on_session_length(
    pool: Database, sql: Sql, user_id: int
) -> None:
    sessions = {messages: open_session(sql, user_id, messages) for messages in (20, 500)}
    for _ in range(20):
        open_session(sql, user_id, 100)
    sql.do("ANALYZE chat_messages")
    read = {
        messages: await rows_read(pool, user_id, uuid, message_at(sql, session_id, messages), messages)
        for messages, (session_id, uuid) in sessions.items()
    }
    assert read[20] == read[500]
    assert read[500] <= LIMIT + 2  # the question is read once for the messages and once for the summary


async def test_history_has_newest_messages_and_summary_and_is_restricted_to_the_owner(
    pool: Database, sql: Sql, user_id: int
) -> None:
    session_id, session = open_session(sql, user_id, 20)
    last = message_at(sql, session_id, 20)

    async def load(owner: int, *, with_summary: bool) -> tuple[list[int], StoredSummary | None]:
        async with pool.autocommit() as connection:
            messages, summary = await history.load_history(
                connection,
                user_id=owner,
                session_uuid=session,
                question_uuid=last,
                before_depth=20,
                limit=3,
                with_summary=with_summary,
            )
        return [message.depth for message in messages], summary

    assert await load(user_id, with_summary=True) == ([17, 18, 19], StoredSummary("summary", 10))
    assert await load(user_id, with_summary=False) == ([17, 18, 19], None)
    assert await load(user_id + 1, with_summary=True) == ([], None)


@pytest.mark.parametrize(("edited", "expected"), [(13, StoredSummary("summary", 10)), (9, None), (1, None)])
async def test_history_of_a_branch_has_its_messages_and_a_summary_of_them_only(
    pool: Database, sql: Sql, user_id: int, edited: int, expected: StoredSummary | None
) -> None:
    session_id, session = open_session(sql, user_id, 20)
    last = edit_question(sql, session_id, edited, 21)
    async with pool.autocommit() as connection:
        messages, summary = await history.load_history(
            connection,
            user_id=user_id,
            session_uuid=session,
            question_uuid=last,
            before_depth=edited + 1,
            limit=3,
            with_summary=True,
        )
    assert [message.content for message in messages] == [*["text"] * min(2, edited - 1), "edited"]
    assert summary == expected


class SummaryWriter:
    """Claims, stores and releases the summary of a branch of a session."""

    def __init__(self, pool: Database, user_id: int, session_id: int, last: UUID) -> None:
        self._pool = pool
        self._user_id = user_id
        self.session_id = session_id
        self.last = last

    async def claim(
        self, *, upto_depth: int = 18, lease: timedelta = LEASE, user_id: int | None = None
    ) -> SummaryClaim | None:
        async with self._pool.driver_connection() as connection:
            return await summaries.claim_summary(
                connection,
                user_id=user_id or self._user_id,
                session_id=self.session_id,
                last_uuid=self.last,
                upto_depth=upto_depth,
                lease=lease,
            )

    async def store(self, claim: SummaryClaim, upto_depth: int = 18) -> bool:
        async with self._pool.driver_connection() as connection:
            return await summaries.store_summary(connection, claim, StoredSummary("longer summary", upto_depth))

    async def release(self, claim: SummaryClaim) -> None:
        async with self._pool.driver_connection() as connection:
            await summaries.release_summary(connection, claim)


@pytest.fixture
def writer(pool: Database, sql: Sql, user_id: int) -> SummaryWriter:
    session_id, _ = open_session(sql, user_id, 20)
    return SummaryWriter(pool, user_id, session_id, message_at(sql, session_id, 20))


def stored(sql: Sql) -> dict[str, Any]:
    """Return the state of the session with its longest summary."""
    (row,) = sql.rows(
        "SELECT content, depth, summary_lease_expires_at, updated_at FROM chat_sessions AS session"
        " JOIN chat_summaries ON session_id = session.id ORDER BY depth DESC LIMIT 1"
    )
    return json.loads(json.dumps(row, default=str))  # type: ignore[no-any-return]


async def test_a_claimed_summary_cannot_be_claimed_again_until_stored(writer: SummaryWriter, sql: Sql) -> None:
    claim = await writer.claim()
    assert claim is not None
    assert (claim.text, claim.upto_depth) == ("summary", 10)
    assert await writer.claim() is None
    assert await writer.store(claim)
    assert stored(sql) == {
        "content": "longer summary",
        "depth": 18,
        "summary_lease_expires_at": None,
        "updated_at": "2026-01-01 00:00:00+00:00",  # unchanged
    }
    assert await writer.claim() is None  # it covers this position
    assert await writer.claim(upto_depth=20) is not None


async def test_a_released_summary_can_be_claimed_again(writer: SummaryWriter, sql: Sql) -> None:
    claim = await writer.claim()
    assert claim is not None
    await writer.release(claim)
    assert stored(sql)["content"] == "summary"
    assert await writer.claim() is not None


async def test_an_expired_summary_claim_has_no_effect(writer: SummaryWriter, sql: Sql) -> None:
    expired = await writer.claim(lease=timedelta(seconds=-1))
    assert expired is not None
    current = await writer.claim()
    assert current is not None
    assert not await writer.store(expired)
    await writer.release(expired)
    assert stored(sql)["content"] == "summary"
    assert await writer.claim() is None
    assert await writer.store(current)


async def test_the_summary_of_another_users_session_cannot_be_claimed(writer: SummaryWriter, user_id: int) -> None:
    assert await writer.claim(user_id=user_id + 1) is None


async def test_no_summary_is_stored_for_a_deleted_session(writer: SummaryWriter, sql: Sql) -> None:
    claim = await writer.claim()
    assert claim is not None
    sql.do("DELETE FROM chat_sessions")
    assert not await writer.store(claim)


async def test_another_branch_is_summarized_from_the_summary_of_the_common_part(
    writer: SummaryWriter, sql: Sql
) -> None:
    whole = await writer.claim()
    assert whole is not None
    assert await writer.store(whole)
    writer.last = edit_question(sql, writer.session_id, 15, 21)
    other = await writer.claim(upto_depth=14)
    assert other is not None
    assert (other.text, other.upto_depth) == ("summary", 10)
    writer.last = edit_question(sql, writer.session_id, 5, 23)
    first = await writer.claim(upto_depth=4)
    assert first is None  # the other branch holds the lease of the session
    await writer.release(other)
    first = await writer.claim(upto_depth=4)
    assert first is not None
    assert (first.text, first.upto_depth) == ("", 0)


async def test_a_session_keeps_a_limited_number_of_summaries(writer: SummaryWriter, sql: Sql) -> None:
    for depth in range(11, 20):
        claim = await writer.claim(upto_depth=depth)
        assert claim is not None
        assert await writer.store(claim, depth)
    depths = [row["depth"] for row in sql.rows("SELECT depth FROM chat_summaries ORDER BY depth")]
    assert depths == list(range(20 - MAX_SUMMARIES, 20))


async def test_no_summary_is_stored_for_a_deleted_message(writer: SummaryWriter, sql: Sql) -> None:
    claim = await writer.claim()
    assert claim is not None
    sql.do("DELETE FROM chat_messages WHERE seq >= 17")
    assert not await writer.store(claim)
