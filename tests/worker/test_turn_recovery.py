"""Recovery of abandoned turns: stored text, ledger, leases and concurrency."""

import asyncio
import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import delete, select

from app.chat.turns.recovery import TurnRecovery, UsageEstimate
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.models import ChatSession, User
from app.database.repositories.turns import turns
from app.database.repositories.turns.turns import Answer
from app.database.repositories.usage.ledger import LedgerEntry
from tests.fixtures.database import Sql
from tests.fixtures.processes import WorkerProcess
from tests.support.fakes import PRICES, turn_recovery
from tests.support.provider import Provider
from tests.support.waiting import LONGEST_WAIT, eventually
from tests.worker.abandoned_turns import ANSWER_STATUS, INSERT_USER, NONE_PENDING, start_abandoned_turns


async def test_recovery_waits_some_seconds_for_unavailable_text(pool: Database, sql: Sql) -> None:
    await start_abandoned_turns(pool, sql, sql.value(INSERT_USER), 1)
    lease = "UPDATE chat_messages SET lease_expires_at = now() - %s * interval '1 second' WHERE status = 'pending'"
    sql.do(lease, [1])
    assert await turn_recovery(pool, None).recover_batch() == 0
    assert sql.value(ANSWER_STATUS) == "pending"
    sql.do(lease, [4])
    assert await turn_recovery(pool, None).recover_batch() == 1
    assert sql.value(ANSWER_STATUS) == "interrupted"


async def test_an_answer_that_cannot_be_recovered_does_not_block_others(pool: Database, sql: Sql) -> None:
    unstorable, storable = await start_abandoned_turns(pool, sql, sql.value(INSERT_USER), 2)

    async def published(answer: UUID) -> str:
        return "\x00" if answer == unstorable.answer_uuid else "Hello"

    assert await replace(turn_recovery(pool), load_published_text=published).recover_batch() == 1
    assert sql.value("SELECT content FROM chat_messages WHERE uuid = %s", [str(storable.answer_uuid)]) == "Hello"


async def test_recovery_stores_the_published_text_and_an_estimate_in_the_ledger(pool: Database, sql: Sql) -> None:
    (turn,) = await start_abandoned_turns(pool, sql, sql.value(INSERT_USER), 1)
    assert await turn_recovery(pool, "Hello Ada, I was about").recover_batch() == 1
    (answer,) = sql.rows(
        "SELECT status, content, metadata, tokens_used, lease_expires_at FROM chat_messages WHERE role = 'assistant'"
    )
    assert answer == {
        "status": "interrupted",
        "content": "Hello Ada, I was about",
        "metadata": {
            "error": "interrupted",
            "attempts": 1,
            "model_requested": "gpt-asked-for",
            "model_used": None,
            "fallback_model": False,
            "fallback_reason": None,
            "cached": False,
            "tokens_used": {"input": 3, "output": 6, "total": 9},
            "tokens_estimated": True,
            "cost_usd": "0.015000000",
            "first_token_ms": None,
        },
        "tokens_used": 9,
        "lease_expires_at": None,
    }
    (session,) = sql.rows(
        "SELECT message_count, last_message_preview, updated_at > created_at AS moved FROM chat_sessions"
    )
    assert session == {"message_count": 2, "last_message_preview": "Hello Ada, I was about", "moved": True}
    ledger = sql.rows(
        "SELECT turn_id, attempt, user_id = 1 AS hers, session_id, model_requested, status, prompt_tokens,"
        " completion_tokens, is_estimated, cost_usd FROM llm_calls"
    )
    assert ledger == [
        {
            "turn_id": turn.answer_uuid,
            "attempt": 1,
            "hers": True,
            "session_id": turn.session_id,
            "model_requested": "gpt-asked-for",
            "status": "cancelled",
            "prompt_tokens": 3,
            "completion_tokens": 6,
            "is_estimated": True,
            "cost_usd": Decimal("0.015"),
        }
    ]
    assert await turn_recovery(pool).recover_batch() == 0


async def test_a_slow_process_cannot_complete_a_recovered_turn(pool: Database, sql: Sql) -> None:
    user = sql.value(INSERT_USER)
    (turn,) = await start_abandoned_turns(pool, sql, user, 1)
    await turn_recovery(pool, "Half").recover_batch()
    late_answer = Answer(content="Whole", status="complete", meta={}, tokens_used=3, processing_time_ms=4)
    # The process made a second attempt that recovery did not know of: the estimate remains.
    calls = [LedgerEntry(n, "m", "m", False, "ok", None, 1, 2, False, 4) for n in (1, 2)]  # noqa: FBT003 - as its fields say
    async with pool.autocommit() as connection:
        assert await turns.complete_turn(connection, turn, late_answer, user_id=user, calls=calls) is None
        assert await turns.complete_turn(connection, turn, late_answer, user_id=user, calls=[]) is None
    assert sql.value("SELECT content FROM chat_messages WHERE role = 'assistant'") == "Half"
    assert sql.value("SELECT count(*) FROM llm_calls") == 1


async def test_a_turn_with_a_valid_lease_is_not_recovered(pool: Database, sql: Sql) -> None:
    leased, _ = await start_abandoned_turns(pool, sql, sql.value(INSERT_USER), 2)
    sql.do(
        "UPDATE chat_messages SET lease_expires_at = now() + interval '1 minute' WHERE uuid = %s", [leased.answer_uuid]
    )
    assert await turn_recovery(pool).recover_batch() == 1
    assert sql.value("SELECT status FROM chat_messages WHERE uuid = %s", [leased.answer_uuid]) == "pending"


async def test_a_lease_renewed_during_recovery_is_respected(pool: Database, sql: Sql) -> None:
    await start_abandoned_turns(pool, sql, sql.value(INSERT_USER), 1)

    async def published(_answer: UUID) -> str:
        sql.do("UPDATE chat_messages SET lease_expires_at = now() + interval '1 minute' WHERE status = 'pending'")
        return "Half"

    turns = TurnRecovery(pool, published, UsageEstimate("gpt-primary", 10, PRICES))
    assert await turns.recover_batch() == 0
    assert sql.value(ANSWER_STATUS) == "pending"
    assert sql.value("SELECT count(*) FROM llm_calls") == 0


async def test_expired_leases_are_ignored_just_after_an_outage(
    pool: Database, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    (turn,) = await start_abandoned_turns(pool, sql, sql.value(INSERT_USER), 1)
    owned_session = {"user_id": sql.value("SELECT id FROM users"), "session_uuid": turn.session_uuid}
    monkeypatch.setattr("app.chat.turns.recovery._LEASE_RENEWAL_SECONDS", LONGEST_WAIT)
    with pytest.raises(DatabaseUnavailableError):
        async with pool.autocommit(max_seconds=0.01):
            await asyncio.sleep(1)
    ended_at = time.monotonic()
    assert not turn_recovery(pool).lease_expiry_is_reliable
    assert await turn_recovery(pool).recover_batch() == 0
    assert not await turn_recovery(pool).recover_in_session(**owned_session)
    assert sql.value(ANSWER_STATUS) == "pending"
    # The time since the end of the outage counts.
    assert 0 < pool.seconds_since_recovery() < time.monotonic() - ended_at
    monkeypatch.setattr("app.chat.turns.recovery._LEASE_RENEWAL_SECONDS", 0.3)
    await eventually(lambda: pool.seconds_since_recovery() > 0.3)
    assert await turn_recovery(pool).recover_in_session(**owned_session)
    assert sql.value(ANSWER_STATUS) == "interrupted"


async def test_two_concurrent_workers_recover_each_answer_once(
    pool: Database, sql: Sql, settings: Settings, home: Path
) -> None:
    await start_abandoned_turns(pool, sql, sql.value(INSERT_USER), 120)
    workers = [WorkerProcess(settings, home, f"worker-{number}") for number in range(2)]
    try:
        Provider.wait_until(lambda: sql.value(NONE_PENDING))
        Provider.wait_until(lambda: sum(worker.recovered_turns() for worker in workers) >= 120)
        assert sum(worker.recovered_turns() for worker in workers) == 120
    finally:
        for worker in workers:
            worker.stop()
    assert sql.value("SELECT count(*) FROM llm_calls") == 120


async def test_concurrent_recovery_and_erasure_do_not_deadlock(pool: Database, sql: Sql) -> None:
    async def remove(table: type[User | ChatSession], key: int) -> None:
        async with pool.transaction() as transaction:
            await transaction.execute(delete(table).where(table.id == key))

    for _ in range(20):
        user = sql.value(INSERT_USER)
        session = (await start_abandoned_turns(pool, sql, user, 5))[2].session_id
        # A deadlock raises.
        await asyncio.gather(
            turn_recovery(pool).recover_batch(),
            remove(ChatSession, session),
            turn_recovery(pool).recover_batch(),
            remove(User, user),
        )
    assert sql.value("SELECT count(*) FROM chat_messages") == 0


async def test_recovery_adds_no_ledger_rows_for_an_account_being_erased(pool: Database, sql: Sql) -> None:
    user = sql.value(INSERT_USER)
    await start_abandoned_turns(pool, sql, user, 1)
    async with pool.transaction() as transaction:
        await transaction.execute(select(User.id).where(User.id == user).with_for_update())
        recovery = asyncio.create_task(turn_recovery(pool).recover_batch())
        await asyncio.to_thread(sql.wait_for_blocked)
        await asyncio.to_thread(sql.do, "UPDATE llm_calls SET user_id = NULL")
        await transaction.execute(delete(User).where(User.id == user))
    assert await recovery == 0
    assert sql.value("SELECT count(*) FROM llm_calls WHERE user_id IS NOT NULL") == 0
