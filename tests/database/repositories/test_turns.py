"""Statements about turns: concurrency, leases and cancellation requests."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest
from sqlalchemy import select

from app.core.schema_types import new_id
from app.database.connection import Database
from app.database.models import ChatMessage, ChatSession
from app.database.repositories.accounts import erasure, users
from app.database.repositories.accounts.users import NewUser
from app.database.repositories.chat import sessions
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.turns import active_turns, turn_queries, turn_recovery, turn_start, turns
from app.database.repositories.turns.turn_recovery import OrphanedTurn
from app.database.repositories.turns.turns import ActiveTurnError, Answer, NewTurn, StartedTurn, TurnPlace
from app.database.repositories.usage.ledger import LedgerEntry
from tests.fixtures.database import Sql

ANSWER = Answer(content="Hello.", status="complete", meta={}, tokens_used=3, processing_time_ms=4)
CALL = LedgerEntry(
    attempt=1,
    model_requested="m",
    model_used="m",
    is_fallback=False,
    status="ok",
    error_code=None,
    prompt_tokens=1,
    completion_tokens=2,
    is_estimated=False,
    latency_ms=4,
)
LEASE = timedelta(seconds=60)


class Owner:
    """A user with sessions."""

    def __init__(self, database: Database, user_id: int) -> None:
        self.database = database
        self.user_id = user_id

    async def open(self) -> ChatSession:
        async with self.database.transaction() as transaction:
            return await sessions.create(transaction, NewSession(title="t", meta={}), user_id=self.user_id)

    async def start(self, session: ChatSession) -> turns.StartedTurn | None:
        async with self.database.autocommit() as connection:
            return await turn_start.start_turn(
                connection,
                NewTurn(
                    user_id=self.user_id,
                    session_uuid=session.uuid,
                    content="Hi",
                    meta={},
                    question_uuid=new_id(),
                    answer_uuid=new_id(),
                    lease=LEASE,
                ),
            )

    async def complete(self, turn: turns.StartedTurn) -> turns.UpdatedSession | None:
        async with self.database.autocommit() as connection:
            return await turns.complete_turn(connection, turn, ANSWER, user_id=self.user_id, calls=[CALL])

    async def remove(self, session: ChatSession) -> None:
        async with self.database.transaction() as transaction:
            await sessions.remove(transaction, user_id=self.user_id, session_uuid=session.uuid)


@pytest.fixture
async def owner(pool: Database, sql: Sql) -> Owner:
    async with pool.transaction() as transaction:
        user = await users.create(transaction, NewUser("ada@example.com", "ada", "hash"))
    return Owner(pool, user.id)


def add_endpoint(sql: Sql) -> None:
    """Subscribe an endpoint to all events, whose rows also refer to accounts."""
    sql.do("INSERT INTO webhook_endpoints (uuid, url, events) VALUES (gen_random_uuid(), 'https://example.com', '{*}')")


@pytest.mark.parametrize("has_endpoint", [False, True])
async def test_concurrent_questions_answers_and_deletions_do_not_deadlock(
    owner: Owner, sql: Sql, *, has_endpoint: bool
) -> None:
    outcomes: Counter[str] = Counter()
    if has_endpoint:
        add_endpoint(sql)

    async def ask(session: ChatSession) -> None:
        try:
            turn = await owner.start(session)
        except ActiveTurnError:
            outcomes["refused"] += 1
            return
        if turn is None or await owner.complete(turn) is None:
            outcomes["deleted"] += 1
        else:
            outcomes["answered"] += 1

    for _ in range(25):
        sessions = [await owner.open() for _ in range(3)]
        questions = [ask(session) for session in sessions for _ in range(10)]
        await asyncio.gather(*questions, owner.remove(sessions[0]))
    assert sum(outcomes.values()) == 25 * 30  # a deadlock would have raised
    assert outcomes["answered"] >= 25 * 2
    assert sql.value("SELECT count(*) FROM chat_messages WHERE status = 'pending'") == 0
    assert sql.value("SELECT count(*) FROM llm_calls") == sql.value("SELECT count(DISTINCT turn_id) FROM llm_calls")
    counts = "SELECT max(seq) <> count(*) AS gap FROM chat_messages GROUP BY session_id"
    gaps = f"SELECT count(*) FROM ({counts}) AS sessions WHERE gap"  # noqa: S608 - constant
    assert sql.value(gaps) == 0


async def test_turns_and_the_erasure_of_the_account_do_not_deadlock(pool: Database, sql: Sql) -> None:
    add_endpoint(sql)

    async def erase(owner: Owner) -> None:
        async with pool.transaction() as transaction:
            account = await erasure.lock_account(transaction, owner.user_id)
            assert account is not None
            await erasure.erase(transaction, account)

    async def interrupt(owner: Owner, turn: StartedTurn) -> None:
        orphaned = OrphanedTurn(turn.answer_uuid, turn.session_id, owner.user_id, timedelta(), None, 0)
        async with pool.autocommit() as connection:
            await turn_recovery.interrupt_orphaned(connection, orphaned, replace(ANSWER, status="interrupted"), CALL)

    for number in range(20):
        async with pool.transaction() as transaction:
            user = await users.create(transaction, NewUser(f"{number}@example.com", f"u{number}", "hash"))
        owner = Owner(pool, user.id)
        sessions = [await owner.open() for _ in range(9)]
        started = [turn for session in sessions[:6] if (turn := await owner.start(session))]
        orphaned = [turn.answer_uuid for turn in started[3:]]
        sql.do("UPDATE chat_messages SET lease_expires_at = now() - interval '1 min' WHERE uuid = ANY(%s)", [orphaned])
        await asyncio.gather(  # a deadlock would raise
            *(owner.complete(turn) for turn in started[:3]),
            *(interrupt(owner, turn) for turn in started[3:]),
            erase(owner),
            *map(owner.remove, sessions[6:]),
        )
    assert sql.value("SELECT count(*) FROM webhook_deliveries") == 0


async def test_completing_a_turn_twice_stores_the_answer_once(owner: Owner, pool: Database, sql: Sql) -> None:
    turn = await owner.start(await owner.open())
    assert turn is not None
    first = await owner.complete(turn)
    assert await owner.complete(turn) is None
    async with pool.autocommit() as connection:
        assert await turn_queries.find_completed(connection, turn) == ("complete", first)
    assert sql.value("SELECT count(*) FROM llm_calls") == 1


async def test_the_ledger_records_the_calls_of_a_deleted_answer(owner: Owner, sql: Sql) -> None:
    session = await owner.open()
    turn = await owner.start(session)
    assert turn is not None
    await owner.remove(session)
    assert await owner.complete(turn) is None
    assert sql.rows("SELECT turn_id, prompt_tokens FROM llm_calls") == [
        {"turn_id": turn.answer_uuid, "prompt_tokens": 1}
    ]


async def test_lease_renewal_skips_locked_answers(owner: Owner, pool: Database, sql: Sql) -> None:
    started = [await owner.start(await owner.open()) for _ in range(3)]
    ids = [turn.answer_uuid for turn in started if turn is not None]
    sql.do("UPDATE chat_messages SET lease_expires_at = now() + interval '1 second' WHERE role = 'assistant'")
    async with pool.transaction() as transaction:
        await transaction.execute(select(ChatMessage).where(ChatMessage.uuid == ids[1]).with_for_update())
        async with pool.autocommit(max_seconds=5) as connection:
            await active_turns.renew_leases(connection, turn_ids=ids, lease=LEASE, renew_before=LEASE / 2)
    renewed = "SELECT count(*) FROM chat_messages WHERE lease_expires_at > now() + interval '30 seconds'"
    assert sql.value(renewed) == 2


async def test_lease_renewal_returns_only_cancelled_turns_of_its_request(
    owner: Owner, pool: Database, sql: Sql
) -> None:
    renewed, not_renewed = [await owner.start(await owner.open()) for _ in range(2)]
    assert renewed is not None
    assert not_renewed is not None
    sql.do("UPDATE chat_messages SET cancel_requested_at = now() WHERE role = 'assistant'")
    async with pool.autocommit() as connection:
        cancelled = await active_turns.renew_leases(
            connection, turn_ids=[renewed.answer_uuid], lease=LEASE, renew_before=LEASE / 2
        )
    assert cancelled == {renewed.answer_uuid}


async def test_lease_renewal_returns_deleted_turns(owner: Owner, pool: Database, sql: Sql) -> None:
    started = [await owner.start(await owner.open()) for _ in range(2)]
    ids = [turn.answer_uuid for turn in started if turn is not None]
    sql.do("DELETE FROM chat_sessions WHERE id = (SELECT session_id FROM chat_messages WHERE uuid = %s)", [str(ids[0])])
    async with pool.autocommit() as connection:
        cancelled = await active_turns.renew_leases(connection, turn_ids=ids, lease=LEASE, renew_before=LEASE / 2)
    assert cancelled == {ids[0]}


async def test_cancellation_is_requested_for_active_answers_of_the_owner_only(
    owner: Owner, pool: Database, sql: Sql
) -> None:
    session = await owner.open()
    turn = await owner.start(session)
    assert turn is not None
    requested = "SELECT count(*) FROM chat_messages WHERE cancel_requested_at IS NOT NULL"
    for user_id, session_uuid in ((owner.user_id + 1, session.uuid), (owner.user_id, turn.answer_uuid)):
        async with pool.autocommit() as connection:
            await active_turns.request_cancel(
                connection, user_id=user_id, session_uuid=session_uuid, answer_uuid=turn.answer_uuid
            )
        assert sql.value(requested) == 0
    await owner.complete(turn)
    async with pool.autocommit() as connection:
        await active_turns.request_cancel(
            connection, user_id=owner.user_id, session_uuid=session.uuid, answer_uuid=turn.answer_uuid
        )
    assert sql.value(requested) == 0


@pytest.mark.parametrize("kind", ["after", "beginning", "another_answer"])
async def test_refusal_that_has_ended_since_is_not_taken_for_too_many_versions(
    owner: Owner, kind: Literal["after", "beginning", "another_answer"]
) -> None:
    """A session may be unarchived between the refusal and the search for its reason."""
    session = await owner.open()
    turn = await owner.start(session)
    assert turn is not None
    await owner.complete(turn)
    message_uuid = {"after": turn.answer_uuid, "beginning": None, "another_answer": turn.question_uuid}[kind]
    async with owner.database.autocommit() as connection:
        refusal = await turn_start.find_refusal(
            connection, user_id=owner.user_id, session_uuid=session.uuid, place=TurnPlace(kind, message_uuid)
        )
    assert refusal is None
