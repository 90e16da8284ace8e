"""How long figures take over a large ledger, whole requests over HTTP, and by which plans PostgreSQL finds them.

`BENCH_ROWS` says how many rows the ledger has.
"""

import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg2
from sqlalchemy import create_engine

from app.database.models import LlmCall
from app.database.repositories.usage import rollup_tables
from benchmarks.stack import running_stack
from local.paths import log_file
from local.postgres import Postgres
from local.stack import Stack

ROWS = int(os.environ.get("BENCH_ROWS", "10_000_000"))
ACCOUNTS = 5000
SESSIONS = 200_000
_SPAN = timedelta(days=90)
_PIECES = 360
"""The ledger grows, and is summed up, in so many pieces, so that rows lie on the disk as they would."""
_REQUESTS = 60
_DIALECT = create_engine("postgresql+psycopg2://").dialect
_LIMIT_MS = 150
PLANS = Path(__file__).parents[1] / "docs" / "benchmarks" / "analytics-plans.md"

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
"""What is asked of the admin service. All but retention are of 30 days."""
_BOUNDED = ("overview", "usage")

_ACCOUNTS = """
INSERT INTO users (uuid, email, username, password_hash, created_at)
SELECT gen_random_uuid(), 'u' || n || '@example.com', 'u' || n, '', now() - random() * %(span)s
FROM generate_series(1, %(count)s) AS n
"""
# They count their messages themselves: texts are not needed for it.
_SESSIONS = """
INSERT INTO chat_sessions (uuid, user_id, title, last_seq, message_count, created_at, updated_at, last_message_at)
SELECT gen_random_uuid(), owner, '', 100, 100, begun, begun + interval '1 hour', begun + interval '1 hour'
FROM (
    SELECT (SELECT min(id) FROM users) + floor(random() * %(accounts)s)::int AS owner,
        now() - random() * %(span)s AS begun
    FROM generate_series(1, %(count)s)
) AS session
"""
# Few accounts ask much, four models answer; 2 of 100 calls fail, some are stopped, known already, or summaries.
_CALLS = """
INSERT INTO llm_calls (turn_id, attempt, user_id, model_requested, model_used, status, error_code, is_cached, purpose,
    prompt_tokens, completion_tokens, cost_usd, latency_ms, first_token_ms, created_at)
SELECT gen_random_uuid(), 1, (SELECT min(id) FROM users) + floor(%(accounts)s * power(random(), 2)), model, model,
    CASE WHEN luck < 0.02 THEN 'error' WHEN luck < 0.04 THEN 'cancelled' ELSE 'ok' END,
    CASE WHEN luck < 0.02 THEN (ARRAY['timeout', 'rate_limited', 'unavailable'])[1 + n %% 3] END,
    luck > 0.95, CASE WHEN n %% 25 = 0 THEN 'summary' ELSE 'answer' END,
    200 + n %% 800, n %% 400, 0.0001 * (n %% 100), exp(7 + random() + random() - random() - random())::int,
    exp(5 + random() + random() - random())::int, %(from)s::timestamptz + random() * (%(to)s::timestamptz - %(from)s)
FROM (
    SELECT n, random() AS luck, (ARRAY['small', 'fast', 'large', 'thorough'])[1 + n %% 4] AS model
    FROM generate_series(1, %(count)s) AS n
) AS call
"""


def analytics() -> str:
    """Measure it, write down the plans, and return the report."""
    with _explaining_postgres() as (url, superuser, log), running_stack({"DATABASE_URL": url}) as stack:
        started = time.monotonic()
        sizes = _fill(superuser)
        filled = time.monotonic() - started
        with _admin(stack) as client:
            measured = {title: _measure(client, path) for title, path in REQUESTS.items()}
            plans = _plans(client, superuser, log)
    PLANS.write_text(_page(plans))
    return _report(measured, sizes, filled)


@contextmanager
def _explaining_postgres() -> Iterator[tuple[str, Any, Path]]:
    """Start a PostgreSQL that can say how it finds things. Give its URL, a superuser's connection and its log."""
    with tempfile.TemporaryDirectory(prefix="chat-bench-", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        server = Postgres(home, options={"shared_preload_libraries": "auto_explain", "max_wal_size": "4GB"})
        server.start()
        try:
            url = urlsplit(server.url())
            superuser = psycopg2.connect(urlunsplit(url._replace(netloc=url.netloc.replace("chat@", "postgres@"))))
            superuser.autocommit = True
            yield server.url(), superuser, log_file(home, server.name)
            superuser.close()
        finally:
            server.stop()


def _fill(connection: Any) -> list[tuple[str, int, str]]:  # noqa: ANN401 - psycopg2 has no types
    """Fill the ledger and the sums, and return the tables with their rows and sizes."""
    _do(connection, _ACCOUNTS, {"span": _SPAN, "count": ACCOUNTS})
    _do(connection, _SESSIONS, {"span": _SPAN, "accounts": ACCOUNTS, "count": SESSIONS})
    ((begin,),) = _do(connection, "SELECT date_trunc('day', now()) - %(span)s", {"span": _SPAN})
    ((end,),) = _do(connection, "SELECT now()", {})
    # Summed up at once, as the worker does in many small pieces; it gets nothing to do.
    _do(connection, "ALTER TABLE llm_calls DISABLE TRIGGER llm_calls_queue", {})
    for piece in range(_PIECES):
        start, stop = (begin + (end - begin) * number / _PIECES for number in (piece, piece + 1))
        count = ROWS * (piece + 1) // _PIECES - ROWS * piece // _PIECES
        of = {"from": start, "to": stop, "accounts": ACCOUNTS, "count": count}
        _do(connection, _CALLS, of)
        for table in rollup_tables.ALL:
            calls = LlmCall.__table__.select().where(LlmCall.created_at >= start, LlmCall.created_at < stop)
            upsert = table.upsert(table.aggregate_rows(calls.subquery("calls")).subquery("new"))
            compiled = upsert.compile(dialect=_DIALECT)
            _do(connection, str(compiled), compiled.params)
    _do(connection, "ALTER TABLE llm_calls ENABLE TRIGGER llm_calls_queue", {})
    # As if the worker had been there all the time.
    _do(connection, "INSERT INTO usage_repair (id) VALUES (1), (2), (3) ON CONFLICT DO NOTHING", {})
    _do(connection, "UPDATE usage_repair SET passes = 2, upto = '-infinity', due_at = now() + interval '1 day'", {})
    _do(connection, "VACUUM ANALYZE", {})
    tables = ["llm_calls", *(table.table.name for table in rollup_tables.ALL)]
    size = "SELECT count(*), pg_size_pretty(pg_total_relation_size('{0}')) FROM {0}"
    return [(table, *_do(connection, size.format(table), {})[0]) for table in tables]


@contextmanager
def _admin(stack: Stack) -> Iterator[httpx.Client]:
    """Log in as the admin, and talk to the admin service directly."""
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        account = {"username": stack.first_admin.email, "password": stack.first_admin.password_file.read_text().strip()}
        login = client.post("/api/v1/auth/login", data=account).raise_for_status().json()
    headers = {"Authorization": f"Bearer {login['access_token']}"}
    url = f"http://127.0.0.1:{stack.ports.admin}/api/v1/admin/"
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        yield client


def _measure(client: httpx.Client, path: str) -> list[float]:
    """Return the milliseconds of each request."""
    seconds = []
    for _ in range(_REQUESTS):
        started = time.perf_counter()
        client.get(path).raise_for_status()
        seconds.append(time.perf_counter() - started)
    return [second * 1000 for second in sorted(seconds)]


def _plans(client: httpx.Client, superuser: Any, log: Path) -> dict[str, str]:  # noqa: ANN401
    """Return the plan of the longest statement of each request."""
    settings = {"log_min_duration": "0", "log_analyze": "on", "log_buffers": "on", "log_format": "json"}
    for name, value in settings.items():
        _do(superuser, f"ALTER SYSTEM SET auto_explain.{name} = '{value}'", {})
    _do(superuser, "SELECT pg_reload_conf()", {})
    time.sleep(1)
    return {title: _plan(client, path, log) for title, path in REQUESTS.items()}


def _plan(client: httpx.Client, path: str, log: Path) -> str:
    seen = log.stat().st_size
    client.get(path).raise_for_status()
    time.sleep(0.5)
    with log.open() as lines:
        lines.seek(seen)
        text = lines.read()
    found = re.findall(r"duration: ([\d.]+) ms  plan:\s*(\{.*?\n\t\})", text, re.DOTALL)
    _, plan = max(found, key=lambda each: float(each[0]))
    return "\n".join(_nodes(json.loads(plan)["Plan"], 0))


def _nodes(node: dict[str, Any], depth: int) -> Iterator[str]:
    """Write a plan as EXPLAIN does, without what is not needed to understand it."""
    what = [node["Node Type"], node.get("Index Name"), node.get("Relation Name")]
    hit, read = node.get("Shared Hit Blocks", 0), node.get("Shared Read Blocks", 0)
    pages = f"{hit + read} pages, {read} of them not in memory"
    line = f"{' / '.join(filter(None, what))}: {node['Actual Rows']:.0f} rows x {node['Actual Loops']}"
    yield f"{'  ' * depth}{line}, {node['Actual Total Time']:.1f} ms, {pages}"
    for child in node.get("Plans", []):
        yield from _nodes(child, depth + 1)


def _page(plans: dict[str, str]) -> str:
    source = f"Written by `make bench BENCH=analytics`, over {ROWS:,} calls. See [benchmarks](../benchmarks.md)."
    lines = ["# Plans of the statements behind the figures", "", source]
    for title, plan in plans.items():
        lines += ["", f"## {title.capitalize()}", "", f"`GET /api/v1/admin/{REQUESTS[title]}`", "", "```", plan, "```"]
    return "\n".join(lines) + "\n"


def _report(measured: dict[str, list[float]], sizes: list[tuple[str, int, str]], filled: float) -> str:
    extent = (
        f"{ROWS:,} calls of {ACCOUNTS:,} accounts in {_SPAN.days} days, and {SESSIONS:,} sessions. {_REQUESTS} requests"
    )
    lines = [
        f"{extent} each, one after the other, directly at the admin service.",
        f"Overview and usage are to take less than {_LIMIT_MS} ms (p95).",
        "",
        "| `GET /api/v1/admin/...` | | p50 | p95 | |",
        "|---|---|---|---|---|",
    ]
    for title, times in measured.items():
        p50, p95 = statistics.median(times), times[len(times) * 95 // 100]
        verdict = ""
        if title.startswith(_BOUNDED):
            verdict = "within the limit" if p95 < _LIMIT_MS else "**over the limit**"
        lines.append(f"| `{REQUESTS[title]}` | {title} | {p50:.0f} ms | {p95:.0f} ms | {verdict} |")
    lines += ["", "| Table | rows | size with indexes |", "|---|---|---|"]
    lines += [f"| `{table}` | {rows:,} | {size} |" for table, rows, size in sizes]
    return "\n".join([*lines, "", f"Filling all of it took {filled / 60:.0f} minutes."])


def _do(connection: Any, statement: str, parameters: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
