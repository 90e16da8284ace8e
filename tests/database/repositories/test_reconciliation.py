"""Reconciliation: roll-ups that differ from the ledger are repaired, and correct ones are not changed."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, literal, select, text

from app.core.exceptions import DatabaseBusyError, DatabaseUnavailableError, StatementTimeoutError
from app.database.connection import Database
from app.database.repositories.usage import rollup_tables
from app.database.repositories.usage.reconciliation import DAILY, PROVIDERS, QUARTERLY, WEEKLY, Reconciler
from app.database.repositories.usage.rollup import roll_up
from app.database.repositories.usage.usage_by_user import usage_by_user
from app.worker.reconciliation import UsageReconciliation
from tests.fixtures.database import Sql
from tests.fixtures.rollups import TABLES, current_rollups, expected_rollups, stored_rollups

ADA = "INSERT INTO users (uuid, email, username, password_hash) VALUES (gen_random_uuid(), 'a', 'a', '') RETURNING id"
APPEND = """
INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, provider, status, error_code, latency_ms,
    first_token_ms, prompt_tokens, cost_usd, created_at)
SELECT gen_random_uuid(), 1, %(user)s, 'm' || n %% 2, (ARRAY['x', 'y', NULL])[1 + n %% 4],
    CASE n %% 3 WHEN 0 THEN 'error' ELSE 'ok' END,
    CASE n %% 3 WHEN 0 THEN 'timeout' END, 100 * n, n, n, n / 1e6,
    '2026-11-01 10:00+00'::timestamptz + n * interval '7 min'
FROM generate_series(1, 60) AS n
"""
BY_HOUR = """
WITH old AS (DELETE FROM {of}_quarters RETURNING *)
INSERT INTO {of}_hours (hour, {keys}, {counters})
SELECT date_trunc('hour', quarter), {keys}, {sums} FROM old GROUP BY 1, {keys}
"""
RECONCILERS = (QUARTERLY, DAILY, WEEKLY, PROVIDERS)
THREE_DAYS_AGO = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
COUNTERS = rollup_tables.USAGE.counters
DAMAGES = {
    "lost": "DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table} LIMIT 3)",
    "too many": "UPDATE {table} SET {counter} = {counter} + 5 WHERE {key} = {one}",
    "less than nothing": "UPDATE {table} SET {counter} = -1",
    "of nothing": "UPDATE {table} SET {time} = {time} + interval '30 days' WHERE {key} = {one}",
    "of something else": "UPDATE {table} SET {key} = 'other' WHERE {key} = {one}",
}


async def reconcile_all(pool: Database, sql: Sql) -> int:
    """Run a complete reconciliation pass; return the number of repaired rows."""
    sql.do("UPDATE usage_repair SET due_at = now(), upto = '-infinity'")
    jobs = [UsageReconciliation(pool, reconciler, run_seconds=60) for reconciler in RECONCILERS]
    return sum([await job.reconcile_windows() for job in jobs])


async def roll_up_pending(pool: Database, limit: int = 1000) -> None:
    async with pool.autocommit() as connection:
        await roll_up(connection, limit=limit)


@pytest.fixture
def ledger(sql: Sql) -> Sql:
    """Ledger with calls of seven hours, of one account and of an erased one."""
    sql.do(APPEND, {"user": sql.value(ADA)})
    sql.do(APPEND, {"user": None})
    return sql


@pytest.mark.parametrize("rolled_up", [0, 50, 1000])
async def test_correct_rollups_are_not_changed(pool: Database, ledger: Sql, rolled_up: int) -> None:
    await roll_up_pending(pool, rolled_up)
    before = stored_rollups(ledger)
    assert await reconcile_all(pool, ledger) == 0
    assert stored_rollups(ledger) == before
    assert await current_rollups(pool) == expected_rollups(ledger)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("rolled_up", [50, 1000])
async def test_wrong_rollups_are_repaired(
    pool: Database, ledger: Sql, caplog: pytest.LogCaptureFixture, damage: str, rolled_up: int
) -> None:
    await roll_up_pending(pool, rolled_up)
    await reconcile_all(pool, ledger)
    for each in rollup_tables.ALL:
        key, one = ("model", "'m1'") if "model" in each.keys else ("purpose", "'answer'")
        names = {"table": each.table.name, "time": each.time.name, "counter": each.counters[-1], "key": key, "one": one}
        ledger.do(damage.format_map(names))
    assert await current_rollups(pool) != expected_rollups(ledger)
    assert await reconcile_all(pool, ledger) > 0
    assert await current_rollups(pool) == expected_rollups(ledger)
    await roll_up_pending(pool)
    assert stored_rollups(ledger) == expected_rollups(ledger)
    assert await reconcile_all(pool, ledger) == 0
    warnings = [record.__dict__["mended"] for record in caplog.records if record.levelno == logging.WARNING]
    assert {table for repaired in warnings for table in repaired} == set(TABLES)


async def test_rollups_of_the_previous_release_are_refined_without_a_warning(
    pool: Database, ledger: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await roll_up_pending(pool, 50)
    for of, keys in (("usage", "model, purpose"), ("user_usage", "user_id, model, purpose")):
        ledger.do(
            BY_HOUR.format(of=of, keys=keys, counters=", ".join(COUNTERS), sums=f"sum({'), sum('.join(COUNTERS)})")
        )
    for table in ("latency_quarters", "error_quarters"):
        ledger.do(f"TRUNCATE {table}")
    assert await reconcile_all(pool, ledger) > 0
    assert await current_rollups(pool) == expected_rollups(ledger)
    assert [record.levelname for record in caplog.records if "roll-ups differed" in record.message] == ["INFO"]


async def test_a_run_is_short_and_the_next_one_continues_it(pool: Database, ledger: Sql) -> None:
    await roll_up_pending(pool)
    for each in rollup_tables.BY_QUARTER:
        ledger.do(f"TRUNCATE {each.table.name}")
    rounds, repaired = 0, 0
    while ledger.rows("SELECT 1 FROM usage_repair WHERE passes > 0") == []:
        repaired += await UsageReconciliation(pool, QUARTERLY, run_seconds=0).reconcile_windows()  # an hour at a time
        rounds += 1
    hours = ledger.value("SELECT count(DISTINCT date_trunc('hour', created_at)) FROM llm_calls")
    assert rounds == hours + 1
    assert stored_rollups(ledger) == expected_rollups(ledger)
    assert repaired == sum(len(stored_rollups(ledger)[each.table.name]) for each in rollup_tables.BY_QUARTER)
    ledger.do("TRUNCATE usage_quarters")
    assert await UsageReconciliation(pool, QUARTERLY).reconcile_windows() == 0  # not before a day is over
    ledger.do("UPDATE usage_repair SET due_at = due_at - interval '23:59:00'")
    assert await UsageReconciliation(pool, QUARTERLY).reconcile_windows() == 0
    ledger.do("UPDATE usage_repair SET due_at = due_at - interval '00:01:00'")
    assert await UsageReconciliation(pool, QUARTERLY).reconcile_windows() > 0


async def test_a_window_locked_by_another_worker_is_not_compared(pool: Database, ledger: Sql) -> None:
    await roll_up_pending(pool)
    ledger.do("TRUNCATE usage_quarters")
    async with pool.transaction() as transaction:
        await QUARTERLY.create_progress(transaction)
    async with pool.transaction() as transaction:
        await transaction.execute(text("SELECT id FROM usage_repair FOR UPDATE"))
        assert await UsageReconciliation(pool, QUARTERLY, run_seconds=60).reconcile_windows() == 0
    repaired = await asyncio.gather(
        *(UsageReconciliation(pool, QUARTERLY, run_seconds=60).reconcile_windows() for _ in range(4))
    )
    assert stored_rollups(ledger) == expected_rollups(ledger)
    assert sum(repaired) == len(stored_rollups(ledger)["usage_quarters"])


async def test_a_window_that_times_out_is_skipped_and_resets_the_passes(
    pool: Database, ledger: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    await reconcile_all(pool, ledger)
    await reconcile_all(pool, ledger)
    assert ledger.rows("SELECT passes FROM usage_repair") == [{"passes": 2}] * len(RECONCILERS)

    async def time_out(*_: object) -> dict[str, int]:
        raise StatementTimeoutError

    monkeypatch.setattr(Reconciler, "repair", time_out)
    assert await reconcile_all(pool, ledger) == 0
    assert ledger.rows("SELECT passes FROM usage_repair") == [{"passes": 1}] * len(RECONCILERS)


@pytest.mark.parametrize("error", [DatabaseUnavailableError, DatabaseBusyError])
async def test_a_window_is_compared_again_after_an_outage_or_a_lock(
    pool: Database, ledger: Sql, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    await roll_up_pending(pool)
    await reconcile_all(pool, ledger)
    ledger.do("TRUNCATE usage_quarters")
    ledger.do("UPDATE usage_repair SET due_at = now()")
    job = UsageReconciliation(pool, QUARTERLY, run_seconds=60)

    async def fail(*_: object) -> dict[str, int]:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Reconciler, "repair", fail)
        with pytest.raises(error):
            await job.reconcile_windows()
    assert ledger.rows("SELECT passes, upto = '-infinity' AS at_start FROM usage_repair WHERE id = 1") == [
        {"passes": 1, "at_start": True}
    ]
    assert await job.reconcile_windows() > 0
    assert stored_rollups(ledger) == expected_rollups(ledger)


async def accounts(pool: Database, start: datetime, end: datetime, *, longest_period: str) -> list[tuple[object, ...]]:
    found = usage_by_user(literal(start), literal(end), longest_period=literal(longest_period))
    figures = [func.sum(found.c[name]) for name in COUNTERS]
    used = select(found.c.user_id, found.c.purpose, *figures).group_by(text("1, 2")).having(func.sum(found.c.calls) > 0)
    out_of_range = select(func.count()).where((found.c.quarter < start) | (found.c.quarter >= end))
    async with pool.read_only() as session:
        assert (await session.execute(out_of_range)).scalar_one() == 0
        return sorted(map(tuple, await session.execute(used)))


@pytest.mark.parametrize("noon", [datetime(2020, 11, 1, 12, tzinfo=UTC), THREE_DAYS_AGO], ids=["long ago", "until now"])
async def test_long_ranges_read_complete_weekly_and_daily_rollups_exactly(
    pool: Database, sql: Sql, noon: datetime
) -> None:
    append_of_a_week = APPEND.replace("7 min", "3 hours").replace("2026-11-01 10:00+00", f"{noon - timedelta(hours=2)}")
    sql.do(append_of_a_week, {"user": sql.value(ADA)})
    ranges = [
        (noon + timedelta(hours=start), noon + timedelta(hours=start + length))
        for start in (-200, -60, 0, 12, 12.25, 13.75, 100)
        for length in (0.25, 2, 12, 24, 36, 100, 200, 400)
    ]
    expected = [await accounts(pool, *each, longest_period="quarter") for each in ranges]
    assert len(set(map(str, expected))) > len(ranges) / 3
    for limit in (30, 1000):
        await roll_up_pending(pool, limit)
        for _ in range(2):
            await reconcile_all(pool, sql)
            for longest_period in ("quarter", "day", "week"):
                assert [await accounts(pool, *each, longest_period=longest_period) for each in ranges] == expected
    period = (noon - timedelta(hours=200), noon + timedelta(hours=200))
    by_quarter = await accounts(pool, *period, longest_period="quarter")
    for longest_period, complete in (
        ("week", rollup_tables.WEEKLY_RECONCILIATION_ID),
        ("day", rollup_tables.DAILY_RECONCILIATION_ID),
    ):
        sql.do(f"UPDATE user_usage_{longest_period}s SET calls = calls + 1")  # noqa: S608 - our own
        assert await accounts(pool, *period, longest_period=longest_period) != by_quarter
        sql.do("UPDATE usage_repair SET passes = 1 WHERE id = %s", [complete])
        assert await accounts(pool, *period, longest_period=longest_period) == by_quarter
