"""Quarter-hour roll-ups and totals: exact at any time, with concurrent roll-ups and erasures."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, select

from app.database.connection import Database
from app.database.models import LlmCall, User
from app.database.repositories.usage import exact_usage, rollup, totals
from tests.fixtures.database import Sql

EXPECTED = """
SELECT {user} date_bin('15 min', created_at, '2026-01-01 00:00+00') AS quarter, model_requested AS model, purpose,
    count(*) AS calls,
    count(*) FILTER (WHERE purpose = 'answer') AS turns, count(*) FILTER (WHERE status = 'ok') AS ok,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
    count(*) FILTER (WHERE status = 'ok' AND is_fallback) AS fallback, count(*) FILTER (WHERE is_cached) AS cached,
    count(*) FILTER (WHERE is_estimated) AS estimated, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced,
    sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
    coalesce(sum(cost_usd), 0) AS cost_usd, sum(latency_ms) AS latency_ms
FROM llm_calls {where} GROUP BY {user} quarter, model, purpose ORDER BY {user} quarter, model, purpose
"""
USERS = "INSERT INTO users (uuid, email, username, password_hash) SELECT gen_random_uuid(), n, n, '' FROM unnest(%s) n"


@pytest.fixture
def ada_and_bob(sql: Sql) -> tuple[int, int]:
    sql.do(USERS, [["ada", "bob"]])
    ada, bob = sql.rows("SELECT id FROM users ORDER BY username")
    return ada["id"], bob["id"]


def append(sql: Sql, user: int | None, count: int = 40) -> None:
    """Append calls of all kinds to the ledger, at both ends of a quarter-hour and now."""
    sql.do(
        """
        INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, purpose, status, error_code, is_fallback,
            is_cached, is_estimated, prompt_tokens, completion_tokens, cost_usd, latency_ms, first_token_ms, created_at)
        SELECT gen_random_uuid(), 1, %(user)s, 'm' || n %% 3, CASE n %% 5 WHEN 0 THEN 'summary' ELSE 'answer' END,
            CASE n %% 4 WHEN 0 THEN 'error' WHEN 1 THEN 'cancelled' ELSE 'ok' END,
            CASE n %% 4 WHEN 0 THEN 'e' || n %% 3 END, n %% 2 = 0, n %% 7 = 0, n %% 3 = 0, n, 2 * n,
            CASE WHEN n %% 6 > 0 THEN n / 1e9 END, 10 * n,
            CASE WHEN n %% 5 > 0 THEN n - 1 END,
            (ARRAY['2026-11-01 10:00:00+00', '2026-11-01 10:14:59.999999+00', '2026-11-01 15:45:00+05:30', now()])
                [1 + n %% 4]::timestamptz
        FROM generate_series(1, %(count)s) AS n
        """,
        {"user": user, "count": count},
    )


EXPECTED_LATENCIES = """
SELECT date_bin('15 min', created_at, '2026-01-01 00:00+00') AS quarter, model_requested AS model, purpose,
    floor(ln(greatest(ms, 1)) / ln(1.05)) AS bucket, sum((is_latency)::int) AS latencies,
    sum((NOT is_latency)::int) AS first_tokens
FROM llm_calls, LATERAL (VALUES (latency_ms, true), (first_token_ms, false)) AS time (ms, is_latency)
WHERE status = 'ok' AND NOT is_cached AND ms IS NOT NULL
GROUP BY quarter, model, purpose, bucket ORDER BY quarter, model, purpose, bucket
"""
EXPECTED_ERRORS = """
SELECT date_bin('15 min', created_at, '2026-01-01 00:00+00') AS quarter, model_requested AS model, purpose, error_code,
    count(*) AS calls
FROM llm_calls WHERE status = 'error'
GROUP BY quarter, model, purpose, error_code ORDER BY quarter, model, purpose, error_code
"""


def stored(sql: Sql, table: str, keys: str) -> list[dict[str, Any]]:
    return sql.rows(f"SELECT * FROM {table} ORDER BY {keys}")  # noqa: S608 - our own


def assert_rollups_agree_with_the_ledger(sql: Sql) -> None:
    expected_rows = sql.rows(EXPECTED.format(user="", where=""))
    assert stored(sql, "usage_quarters", "quarter, model, purpose") == expected_rows
    users = sql.rows(EXPECTED.format(user="user_id,", where="WHERE user_id IS NOT NULL"))
    assert stored(sql, "user_usage_quarters", "user_id, quarter, model, purpose") == users
    assert stored(sql, "latency_quarters", "quarter, model, purpose, bucket") == sql.rows(EXPECTED_LATENCIES)
    assert stored(sql, "error_quarters", "quarter, model, purpose, error_code") == sql.rows(EXPECTED_ERRORS)


async def roll_up_pending(pool: Database, limit: int) -> int:
    async with pool.autocommit() as connection:
        return await rollup.roll_up(connection, limit=limit)


async def total(pool: Database, user: int) -> Mapping[str, exact_usage.UsageTotals]:
    async with pool.transaction() as transaction:
        return {str(period): sums for period, sums in (await totals.user_totals(transaction, user)).items()}


async def test_quarter_hour_rollups_agree_with_the_ledger(
    pool: Database, sql: Sql, ada_and_bob: tuple[int, int]
) -> None:
    for user in (*ada_and_bob, None):
        append(sql, user)
    done: list[int] = []
    while not done or done[-1]:
        done.append(await roll_up_pending(pool, 50))
    assert done == [50, 50, 20, 0]
    assert_rollups_agree_with_the_ledger(sql)
    append(sql, ada_and_bob[0])
    await roll_up_pending(pool, 100)
    assert_rollups_agree_with_the_ledger(sql)


async def test_totals_do_not_depend_on_how_much_is_rolled_up(
    pool: Database, sql: Sql, ada_and_bob: tuple[int, int]
) -> None:
    ada, bob = ada_and_bob
    append(sql, ada)
    append(sql, bob, 7)
    expected = await total(pool, ada)
    assert expected["total"].prompt_tokens == sum(range(1, 41))
    assert expected["total"].cost_usd == Decimal(sum(n for n in range(1, 41) if n % 6)) / 10**9
    today = [n for n in range(1, 41) if n % 4 == 3]
    assert (expected["today"].calls, expected["today"].completion_tokens) == (len(today), 2 * sum(today))
    while await roll_up_pending(pool, 5):
        assert await total(pool, ada) == expected
    assert sql.value("SELECT count(*) FROM usage_pending") == 0


async def test_totals_without_usage_are_zero(pool: Database, sql: Sql, ada_and_bob: tuple[int, int]) -> None:
    append(sql, ada_and_bob[0])
    nothing = exact_usage.UsageTotals(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, Decimal(0), 0)
    assert await total(pool, ada_and_bob[1]) == {"today": nothing, "month": nothing, "total": nothing}


async def test_concurrent_rollups_count_each_row_once(pool: Database, sql: Sql, ada_and_bob: tuple[int, int]) -> None:
    expected: Mapping[str, exact_usage.UsageTotals] = {}
    for _ in range(5):
        for user in ada_and_bob:
            append(sql, user)
        expected = await total(pool, ada_and_bob[0])
        done, observed_totals = asyncio.gather(*(roll_up_pending(pool, 17) for _ in range(8))), []
        while not done.done():
            observed_totals.append(await total(pool, ada_and_bob[0]))
        await done
        assert all(observed == expected for observed in observed_totals)  # at any time in between
    while await roll_up_pending(pool, 1000):
        pass
    assert_rollups_agree_with_the_ledger(sql)
    assert await total(pool, ada_and_bob[0]) == expected


async def test_an_account_being_erased_is_not_rolled_up(pool: Database, sql: Sql, ada_and_bob: tuple[int, int]) -> None:
    ada, bob = ada_and_bob
    for user in ada_and_bob:
        append(sql, user)
    async with pool.transaction() as transaction:
        await transaction.execute(select(User.id).where(User.id == ada).with_for_update())
        rollup_task = asyncio.create_task(roll_up_pending(pool, 1000))
        await asyncio.to_thread(sql.wait_for_blocked)
        anonymise = "UPDATE llm_calls SET user_id = NULL, session_id = NULL WHERE user_id = %s"
        await asyncio.to_thread(sql.do, anonymise, [ada])
        await transaction.execute(delete(User).where(User.id == ada))
    assert await rollup_task == 80
    assert {row["user_id"] for row in stored(sql, "user_usage_quarters", "user_id")} == {bob}
    assert_rollups_agree_with_the_ledger(sql)


async def test_a_rolled_back_ledger_row_is_not_rolled_up(pool: Database, sql: Sql) -> None:
    async def append_and_fail() -> None:
        async with pool.transaction() as transaction:
            transaction.add(LlmCall(turn_id=uuid4(), attempt=1, model_requested="m", status="ok", latency_ms=1))
            await transaction.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await append_and_fail()
    assert await roll_up_pending(pool, 10) == 0
