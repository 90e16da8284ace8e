"""Benchmark of analytics requests over a large ledger, with the query plans of PostgreSQL.

`BENCH_ROWS` is the number of rows in the ledger.
"""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import create_engine

from app.database.models import LlmCall
from app.database.repositories.usage import rollup_tables
from benchmarks import query_plans
from benchmarks.stack import running_stack
from local.stack import Stack

ROWS = int(os.environ.get("BENCH_ROWS", "10_000_000"))
ACCOUNTS = 5000
SESSIONS = 200_000
_SPAN = timedelta(days=90)
_BATCHES = 360
"""Number of batches in which the ledger is filled, so that the rows are ordered on disk as in production."""
_REQUESTS_PER_REPORT = 60
_DIALECT = create_engine("postgresql+psycopg2://").dialect
_LIMIT_MS = 150
"""Limit for the 95th percentile of overview and usage requests."""
PLANS = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks" / "analytics-plans.md"

REQUESTS = {
    "overview": "overview",
    "usage by day": "analytics/usage",
    "usage by hour": "analytics/usage?bucket=hour",
    "usage by week": "analytics/usage?bucket=week",
    "usage by day and model": "analytics/usage?group_by=model",
    "usage by day and account": "analytics/usage?group_by=user",
    "usage by day in Kathmandu": "analytics/usage?timezone=Asia/Kathmandu",
    "models": "analytics/models",
    "accounts": "analytics/users",
    "errors": "analytics/errors",
    "latency by day": "analytics/latency",
    "latency by day and model": "analytics/latency?group_by=model",
    "retention": "analytics/retention",
}
"""Paths under `/api/v1/admin/` by title. All reports except retention cover 30 days."""
_LIMITED = ("overview", "usage")

_ACCOUNTS = """
INSERT INTO users (uuid, email, username, password_hash, created_at)
SELECT gen_random_uuid(), 'u' || n || '@example.com', 'u' || n, '', now() - random() * %(span)s
FROM generate_series(1, %(count)s) AS n
"""
# Sessions have counters of their messages, so that no messages are needed.
_SESSIONS = """
INSERT INTO chat_sessions (uuid, user_id, title, last_seq, message_count, created_at, updated_at, last_message_at)
SELECT gen_random_uuid(), owner, '', 100, 100, begun, begun + interval '1 hour', begun + interval '1 hour'
FROM (
    SELECT (SELECT min(id) FROM users) + floor(random() * %(accounts)s)::int AS owner,
        now() - random() * %(span)s AS begun
    FROM generate_series(1, %(count)s)
) AS session
"""
# Usage is skewed towards few accounts. Of the calls, 2 % fail, 2 % are cancelled, 5 % are cached and 4 % are summaries.
_CALLS = """
INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, model_used, status, error_code, is_cached, purpose,
    prompt_tokens, completion_tokens, cost_usd, latency_ms, first_token_ms, created_at)
SELECT gen_random_uuid(), 1, (SELECT min(id) FROM users) + floor(%(accounts)s * power(random(), 2)), model, model,
    CASE WHEN roll < 0.02 THEN 'error' WHEN roll < 0.04 THEN 'cancelled' ELSE 'ok' END,
    CASE WHEN roll < 0.02 THEN (ARRAY['timeout', 'rate_limited', 'unavailable'])[1 + n %% 3] END,
    roll > 0.95, CASE WHEN n %% 25 = 0 THEN 'summary' ELSE 'answer' END,
    200 + n %% 800, n %% 400, 0.0001 * (n %% 100), exp(7 + random() + random() - random() - random())::int,
    exp(5 + random() + random() - random())::int, %(from)s::timestamptz + random() * (%(to)s::timestamptz - %(from)s)
FROM (
    SELECT n, random() AS roll, (ARRAY['small', 'fast', 'large', 'thorough'])[1 + n %% 4] AS model
    FROM generate_series(1, %(count)s) AS n
) AS call
"""


def analytics() -> str:
    """Run the benchmark, write the page of query plans, and return the report."""
    with (
        query_plans.postgres_with_auto_explain() as (url, superuser, log),
        running_stack({"DATABASE_URL": url}) as stack,
    ):
        started = time.monotonic()
        sizes = _fill(superuser)
        fill_seconds = time.monotonic() - started
        with _admin(stack) as client:
            measured = {title: _measure(client, path) for title, path in REQUESTS.items()}
            plans = _plans(client, superuser, log)
    PLANS.write_text(_page(plans))
    return _report(measured, sizes, fill_seconds)


def _fill(connection: Any) -> list[tuple[str, int, str]]:  # noqa: ANN401 - psycopg2 has no types
    """Fill the ledger and the roll-up tables, and return each table with its number of rows and its size."""
    _execute(connection, _ACCOUNTS, {"span": _SPAN, "count": ACCOUNTS})
    _execute(connection, _SESSIONS, {"span": _SPAN, "accounts": ACCOUNTS, "count": SESSIONS})
    ((begin,),) = _execute(connection, "SELECT date_trunc('day', now()) - %(span)s", {"span": _SPAN})
    ((end,),) = _execute(connection, "SELECT now()", {})
    # Rolled up here, so that nothing is queued for the worker.
    _execute(connection, "ALTER TABLE llm_calls DISABLE TRIGGER llm_calls_queue", {})
    for batch in range(_BATCHES):
        start, stop = (begin + (end - begin) * number / _BATCHES for number in (batch, batch + 1))
        count = ROWS * (batch + 1) // _BATCHES - ROWS * batch // _BATCHES
        parameters = {"from": start, "to": stop, "accounts": ACCOUNTS, "count": count}
        _execute(connection, _CALLS, parameters)
        for rollup in rollup_tables.ALL:
            calls = LlmCall.__table__.select().where(LlmCall.created_at >= start, LlmCall.created_at < stop)
            upsert = rollup.upsert(rollup.aggregate_rows(calls.subquery("calls")).subquery("new"))
            compiled = upsert.compile(dialect=_DIALECT)
            _execute(connection, str(compiled), compiled.params)
    _execute(connection, "ALTER TABLE llm_calls ENABLE TRIGGER llm_calls_queue", {})
    # The state that the worker has after its reconciliation passes.
    _execute(connection, "INSERT INTO usage_repair (id) VALUES (1), (2), (3), (4) ON CONFLICT DO NOTHING", {})
    _execute(
        connection, "UPDATE usage_repair SET passes = 2, upto = '-infinity', due_at = now() + interval '1 day'", {}
    )
    _execute(connection, "VACUUM ANALYZE", {})
    tables = ["llm_calls", *(rollup.table.name for rollup in rollup_tables.ALL)]
    size = "SELECT count(*), pg_size_pretty(pg_total_relation_size('{0}')) FROM {0}"
    return [(table, *_execute(connection, size.format(table), {})[0]) for table in tables]


@contextmanager
def _admin(stack: Stack) -> Iterator[httpx.Client]:
    """Log in as the admin; yield a client of the admin service, without Nginx."""
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        account = {"username": stack.first_admin.email, "password": stack.first_admin.password_file.read_text().strip()}
        login = client.post("/api/v1/auth/login", data=account).raise_for_status().json()
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    url = f"http://127.0.0.1:{stack.ports.admin}/api/v1/admin/"
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        yield client


def _measure(client: httpx.Client, path: str) -> list[float]:
    """Return the sorted response times in milliseconds."""
    seconds = []
    for _ in range(_REQUESTS_PER_REPORT):
        started = time.perf_counter()
        client.get(path).raise_for_status()
        seconds.append(time.perf_counter() - started)
    return [second * 1000 for second in sorted(seconds)]


def _plans(client: httpx.Client, superuser: Any, log: Path) -> dict[str, str]:  # noqa: ANN401
    """Return the query plan of the slowest statement of each request."""
    query_plans.enable(superuser)
    return {title: query_plans.slowest(partial(_get, client, path), log) for title, path in REQUESTS.items()}


def _get(client: httpx.Client, path: str) -> None:
    client.get(path).raise_for_status()


def _page(plans: dict[str, str]) -> str:
    source = f"Written by `make bench BENCH=analytics` with {ROWS:,} calls. See [benchmarks](../benchmarks.md)."
    lines = ["# Query plans of the analytics requests", "", source]
    for title, plan in plans.items():
        lines += ["", f"## {title.capitalize()}", "", f"`GET /api/v1/admin/{REQUESTS[title]}`", "", "```", plan, "```"]
    return "\n".join(lines) + "\n"


def _report(measured: dict[str, list[float]], sizes: list[tuple[str, int, str]], fill_seconds: float) -> str:
    extent = f"{ROWS:,} calls of {ACCOUNTS:,} accounts in {_SPAN.days} days, and {SESSIONS:,} sessions."
    lines = [
        f"{extent} {_REQUESTS_PER_REPORT} sequential requests per report, to the admin service without Nginx.",
        f"The limit for overview and usage is {_LIMIT_MS} ms (p95).",
        "",
        "| `GET /api/v1/admin/...` | | p50 | p95 | |",
        "|---|---|---|---|---|",
    ]
    for title, times in measured.items():
        p50, p95 = statistics.median(times), times[len(times) * 95 // 100]
        verdict = ""
        if title.startswith(_LIMITED):
            verdict = "within the limit" if p95 < _LIMIT_MS else "**over the limit**"
        lines.append(f"| `{REQUESTS[title]}` | {title} | {p50:.0f} ms | {p95:.0f} ms | {verdict} |")
    lines += ["", "| Table | rows | size with indexes |", "|---|---|---|"]
    lines += [f"| `{table}` | {rows:,} | {size} |" for table, rows, size in sizes]
    return "\n".join([*lines, "", f"Filling the tables took {fill_seconds / 60:.0f} minutes."])


def _execute(connection: Any, statement: str, parameters: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
