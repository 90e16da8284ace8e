"""Latency percentiles from histograms, exact to half the width of a bucket."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import select

from app.database.connection import Database
from app.database.repositories.analytics import latency_histogram
from app.database.repositories.analytics.latency_histogram import PERCENTILES, Measure
from app.database.repositories.usage import exact_usage
from app.database.repositories.usage.rollup import roll_up
from tests.fixtures.database import Sql

APPEND = """
INSERT INTO llm_calls (turn_id, attempt, model_requested, status, latency_ms, first_token_ms, is_cached, error_code)
SELECT gen_random_uuid(), 1, %(model)s, %(status)s, ms, first_ms, %(cached)s, %(error)s
FROM unnest(%(ms)s::int[], %(first)s::int[]) AS times (ms, first_ms)
"""


def append(
    sql: Sql,
    ms: Sequence[int],
    first: Sequence[int] = (),
    *,
    model: str = "m",
    status: str = "ok",
    **more: object,
) -> None:
    times = {"ms": list(ms), "first": list(first)}
    sql.do(APPEND, {"model": model, "status": status, "cached": False, "error": None, **times, **more})


async def percentiles(pool: Database, measure: Measure, *groups: str) -> list[Mapping[str, Any]]:
    async with pool.read_only() as session:
        histogram = latency_histogram.histogram_by_quarter()
        rows = await session.execute(latency_histogram.percentiles(histogram, measure, *groups))
        return [dict(row._mapping) for row in rows]


def nearest_rank(times: Sequence[int], share: float) -> int:
    return sorted(times)[max(-(-len(times) * round(share * 100) // 100), 1) - 1]


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: round(rng.lognormvariate(7, 1.5)),
        lambda rng: rng.randrange(40),
        lambda rng: rng.choice([0, 1, 2, 2**31 - 1]),
    ],
    ids=["usual", "quick", "extreme"],
)
async def test_percentiles_are_exact_to_half_a_bucket(
    pool: Database, sql: Sql, draw: Callable[[random.Random], int]
) -> None:
    rng = random.Random(4)  # noqa: S311 - not a secret
    for count in (1, 2, 100, 777):
        times = [draw(rng) for _ in range(count)]
        append(sql, times, times[::-1], model=f"m{count}")
        async with pool.autocommit() as connection:
            await roll_up(connection, limit=count // 2)  # half are rolled up, half are pending
        for measure in ("latencies", "first_tokens"):
            (found,) = [row for row in await percentiles(pool, measure, "model") if row["model"] == f"m{count}"]
            assert found["count"] == count
            for name, share in PERCENTILES.items():
                expected = nearest_rank(times, float(share))
                assert abs(found[name] - max(expected, 1)) <= 0.025 * expected + 0.5, (name, count)


async def test_only_answers_of_a_model_are_measured(pool: Database, sql: Sql) -> None:
    append(sql, [10], [5])
    append(sql, [20], status="error", error="timeout")
    append(sql, [30], [25], status="cancelled")
    append(sql, [1], [1], cached=True)
    for limit in (0, 10):
        async with pool.autocommit() as connection:
            await roll_up(connection, limit=limit)
        assert [row["count"] for row in await percentiles(pool, "latencies")] == [1]
        assert [(row["count"], row["p99"]) for row in await percentiles(pool, "first_tokens")] == [(1, 5)]


async def test_there_are_no_percentiles_without_measurements(pool: Database, sql: Sql) -> None:
    append(sql, [10])
    assert await percentiles(pool, "first_tokens", "model") == []
    assert [row["p50"] for row in await percentiles(pool, "latencies", "model")] == [10]


async def test_errors_are_counted_by_code_and_model(pool: Database, sql: Sql) -> None:
    append(sql, [1, 1], model="a", status="error", error="timeout")
    append(sql, [1], model="b", status="error", error="timeout")
    append(sql, [1], model="b", status="error", error="rate_limited")
    append(sql, [1], model="b")
    for limit in (0, 2, 10):
        async with pool.autocommit() as connection:
            await roll_up(connection, limit=limit)
        errors = exact_usage.errors_by_quarter()
        async with pool.read_only() as session:
            found = await session.execute(select(errors.c.model, errors.c.error_code, errors.c.calls))
            assert sorted(map(tuple, found)) == [("a", "timeout", 2), ("b", "rate_limited", 1), ("b", "timeout", 1)]
