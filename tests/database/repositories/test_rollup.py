"""Stateful test: roll-ups agree with the ledger after any sequence of operations, interrupted at any point."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg2.extras import Json
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.repositories.accounts import erasure
from app.database.repositories.usage import rollup_tables
from app.database.repositories.usage.reconciliation import DAILY, PROVIDERS, QUARTERLY, WEEKLY
from app.database.repositories.usage.rollup import roll_up
from app.worker.reconciliation import UsageReconciliation
from tests.fixtures.database import Sql, empty
from tests.fixtures.processes import WorkerProcess
from tests.fixtures.rollups import TABLES, current_rollups, expected_rollups, stored_rollups
from tests.support.provider import Provider

RECONCILERS = (QUARTERLY, DAILY, WEEKLY, PROVIDERS)
TIMES_OF = {each.table.name: each.time.name for each in rollup_tables.ALL}
NAMES = ("ada", "bob", "eve")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
BEGINNING = "INSERT INTO users (uuid, email, username, password_hash) VALUES (gen_random_uuid(), %s, %s, '')"
APPEND = """
INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, provider, purpose, status, error_code, is_fallback,
    is_cached, is_estimated, prompt_tokens, completion_tokens, cost_usd, latency_ms, first_token_ms, created_at)
SELECT gen_random_uuid(), attempt, (SELECT id FROM users WHERE username = %s), model, provider, purpose, status,
    CASE status WHEN 'error' THEN error_code END, is_fallback, is_cached, is_estimated, prompt_tokens,
    completion_tokens, cost_usd, latency_ms, first_token_ms, created_at
FROM jsonb_to_recordset(%s) AS calls (attempt int, model text, provider text, purpose text, status text,
    error_code text, is_fallback bool, is_cached bool, is_estimated bool, prompt_tokens int, completion_tokens int,
    cost_usd numeric, latency_ms int, first_token_ms int, created_at timestamptz)
"""
TOKENS = st.integers(0, 10_000)
TIMES = st.integers(0, 600_000)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "attempt": st.integers(1, 3),
            "model": st.sampled_from(["a", "b"]),
            "provider": st.sampled_from(["x", "y", None]),
            "purpose": st.sampled_from(["answer", "summary", "title"]),
            "status": st.sampled_from(["ok", "error", "cancelled"]),
            "error_code": st.sampled_from(["timeout", "rate_limited"]),
            "is_fallback": st.booleans(),
            "is_cached": st.booleans(),
            "is_estimated": st.booleans(),
            "prompt_tokens": TOKENS,
            "completion_tokens": TOKENS,
            "cost_usd": st.none() | st.decimals(0, 9, places=9).map(str),
            "latency_ms": TIMES,
            "first_token_ms": st.none() | TIMES,
            "created_at": st.integers(0, 4 * 3600).map(lambda seconds: (NOON + timedelta(seconds=seconds)).isoformat()),
        }
    ),
    min_size=1,
    max_size=20,
)
KILL = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'doomed'"
LIMITS = st.integers(1, 60)
MOMENTS = st.floats(0, 0.02)
"""Seconds after the start of a statement, up to some time after its end."""


class Ledger(RuleBasedStateMachine):
    """State machine: store calls, erase accounts, roll up, reconcile, concurrently and with interruptions."""

    settings: ClassVar[Settings]
    sql: ClassVar[Sql]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.pool = Database.from_settings(self.settings, application_name="ledger")
        self.is_damaged = False

    def teardown(self) -> None:
        self.runner.run(self.pool.close())
        self.runner.close()

    def run(self, *operations: Coroutine[Any, Any, object]) -> None:
        async def all_at_once() -> None:
            await asyncio.gather(*operations)

        self.runner.run(all_at_once())

    async def roll_up_pending(self, limit: int, pool: Database | None = None) -> None:
        async with (pool or self.pool).autocommit() as connection:
            await roll_up(connection, limit=limit)

    async def repair(self) -> None:
        for reconciler in RECONCILERS:
            await UsageReconciliation(self.pool, reconciler, run_seconds=60).reconcile_windows()

    async def append(self, name: str | None, calls: list[dict[str, object]]) -> None:
        await asyncio.to_thread(self.sql.do, APPEND, [name, Json(calls)])

    async def erase(self, name: str) -> None:
        for user in await asyncio.to_thread(self.sql.rows, "SELECT id FROM users WHERE username = %s", [name]):
            async with self.pool.transaction() as transaction:
                account = await erasure.lock_account(transaction, user["id"])
                assert account is not None
                await erasure.erase(transaction, account)

    async def interrupt(self, operation: Coroutine[Any, Any, None], seconds: float) -> None:
        task = asyncio.create_task(operation)
        await asyncio.wait({task}, timeout=seconds)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def kill(self) -> None:
        # A role may end the sessions of its own.
        connection = Sql(self.settings.DATABASE_URL)
        connection.do(KILL)
        connection.close()

    async def roll_up_until_killed(self, limit: int, seconds: float) -> None:
        pool = Database.from_settings(self.settings, application_name="doomed")
        await pool.ping()
        task = asyncio.create_task(self.roll_up_pending(limit, pool))
        await asyncio.wait({task}, timeout=seconds)
        await asyncio.to_thread(self.kill)
        with suppress(DatabaseUnavailableError, DBAPIError):
            await task
        await pool.close()

    @initialize()
    def begin(self) -> None:
        empty(self.sql)
        for name in NAMES:
            self.sql.do(BEGINNING, [name, name])
        self.run(self.repair())
        self.sql.do("UPDATE usage_repair SET due_at = now()")

    @rule(name=st.sampled_from([*NAMES, None]), calls=CALLS)
    def calls_are_stored(self, name: str | None, calls: list[dict[str, object]]) -> None:
        self.run(self.append(name, calls))

    @rule(limit=LIMITS)
    def pending_rows_are_rolled_up(self, limit: int) -> None:
        self.run(self.roll_up_pending(limit))

    @rule(limit=LIMITS, seconds=MOMENTS)
    def a_rollup_is_interrupted(self, limit: int, seconds: float) -> None:
        self.run(self.interrupt(self.roll_up_pending(limit), seconds))

    @rule(limit=LIMITS, seconds=MOMENTS)
    def the_connection_of_a_rollup_is_killed(self, limit: int, seconds: float) -> None:
        self.run(self.roll_up_until_killed(limit, seconds))

    @rule(name=st.sampled_from(NAMES))
    def an_account_is_erased(self, name: str) -> None:
        self.run(self.erase(name))

    @rule(names=st.permutations(NAMES), calls=CALLS, limit=LIMITS)
    def operations_run_concurrently(self, names: list[str], calls: list[dict[str, object]], limit: int) -> None:
        rollups = (self.roll_up_pending(limit) for _ in range(3))
        self.run(self.append(names[0], calls), *rollups, self.erase(names[1]), self.repair(), self.append(None, calls))
        self.is_damaged = self.is_damaged and not self.is_reconciled()

    @rule(table=st.sampled_from(TABLES), share=st.integers(1, 3), what=st.sampled_from(["lost", "moved"]))
    def rollups_are_damaged(self, table: str, share: int, what: str) -> None:
        time = TIMES_OF[table]
        change = {
            "lost": f"DELETE FROM {table}",  # noqa: S608 - our own
            "moved": f"UPDATE {table} SET {time} = {time} - interval '400 days'",  # noqa: S608
        }
        self.sql.do(f"{change[what]} WHERE {time} > '2026-01-01' AND extract(minute FROM {time})::int / 15 < {share}")
        self.sql.do("UPDATE usage_repair SET due_at = now(), upto = '-infinity', passes = 1")
        self.is_damaged = True

    @rule(seconds=MOMENTS)
    def a_repair_is_interrupted(self, seconds: float) -> None:
        self.run(self.interrupt(self.repair(), seconds))
        self.is_damaged = self.is_damaged and not self.is_reconciled()

    @rule()
    def rollups_are_repaired(self) -> None:
        self.run(self.repair())
        self.is_damaged = self.is_damaged and not self.is_reconciled()

    def is_reconciled(self) -> bool:
        # On a busy machine, a window whose statement takes too long is left to the next pass, and `passes` begins anew.
        complete = "SELECT 1 FROM usage_repair WHERE due_at > now() AND passes > 1"
        return len(self.sql.rows(complete)) == len(RECONCILERS)

    @invariant()
    def rollups_agree_with_the_ledger(self) -> None:
        if not self.is_damaged:
            assert self.runner.run(current_rollups(self.pool)) == expected_rollups(self.sql)
            if not self.sql.rows("SELECT 1 FROM usage_pending LIMIT 1"):
                assert stored_rollups(self.sql) == expected_rollups(self.sql)


def test_rollups_agree_with_the_ledger_after_any_sequence_of_operations(settings: Settings, database: Sql) -> None:
    Ledger.settings, Ledger.sql = settings, database
    run_state_machine_as_test(
        Ledger,
        settings=hypothesis_settings(
            max_examples=8, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


MANY = """
INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, status, latency_ms, created_at)
SELECT gen_random_uuid(), 1, (SELECT id FROM users WHERE username = 'ada'), 'm' || n %% 5, 'ok', n,
    now() - n * interval '1 s'
FROM generate_series(1, %s) AS n
"""
PENDING = "SELECT count(*) FROM usage_pending"


async def test_killed_workers_roll_up_each_row_exactly_once(
    pool: Database, sql: Sql, settings: Settings, home: Path
) -> None:
    sql.do(BEGINNING, ["ada", "ada"])
    killed_in_time = 0
    while killed_in_time < 3:
        sql.do(MANY, [20_000])
        before = sql.value(PENDING)
        worker = WorkerProcess(settings, home)
        Provider.wait_until(lambda before=before: sql.value(PENDING) < before)  # type: ignore[misc]
        worker.kill()
        # On a busy machine it may have been done before.
        killed_in_time += sql.value(PENDING) > 0
        assert await current_rollups(pool) == expected_rollups(sql)
    worker = WorkerProcess(settings, home)
    Provider.wait_until(lambda: sql.value(PENDING) == 0)
    worker.stop()
    assert stored_rollups(sql) == expected_rollups(sql)
