"""Benchmark of turns in short and long sessions, whose costs should be equal."""

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from benchmarks.comparison import running_comparison
from benchmarks.load import CPU_TICK, Target, measure_turns
from benchmarks.stack import temporary_home
from local.postgres import Postgres

LENGTHS = (20, 500)
"""Numbers of messages in the compared sessions."""
_CLIENTS = 8
_WARM_UP = 300
_STATISTICS_DELAY = 11.0
"""Seconds after which PostgreSQL has flushed the statistics of idle connections."""
# The same number of messages is sent in both cases, without a summary.
_SETTINGS = {"LLM_HISTORY_MESSAGES": "10", "LLM_SUMMARY_ENABLED": "false", "LLM_TITLE_ENABLED": "false"}
_FILL = """
INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
SELECT gen_random_uuid(), id, seq, CASE seq %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
    CASE seq %% 2 WHEN 1 THEN 'What is the answer?' ELSE repeat('lorem ', 40) END, 'complete'
FROM chat_sessions, generate_series(1, %(length)s) AS seq WHERE uuid = ANY(%(sessions)s::uuid[]);
UPDATE chat_sessions SET last_seq = %(length)s, message_count = %(length)s WHERE uuid = ANY(%(sessions)s::uuid[])
"""
# Only the table that has more rows for a longer session: reads of other tables depend on their total size.
_ROWS_READ = (
    "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relid = 'public.chat_messages'::regclass"
)
_IS_INDEXED = "SELECT NOT EXISTS (SELECT FROM search_pending)"
_INDEX_TIMEOUT = 300.0
_STATEMENTS = "SELECT queryid, sum(calls) FROM pg_stat_statements GROUP BY queryid"


@dataclass(frozen=True)
class Costs:
    """Costs of one turn."""

    statements: float
    rows: float
    """Rows read from the table of messages."""
    cpu: float
    """CPU time of the service in seconds."""


def long_sessions(*, rounds: int = 4, turns: int = 50) -> str:
    """Run the benchmark with `turns` turns per client and round, and return the report."""
    measured: defaultdict[int, list[Costs]] = defaultdict(list)
    session_count = _CLIENTS * len(LENGTHS) * rounds
    with (
        _postgres_with_statement_counts() as (url, connection),
        running_comparison(
            sessions=session_count + 1, tokens=40, settings={"DATABASE_URL": url, **_SETTINGS}
        ) as comparison,
    ):
        system = comparison.target("system", session_count + 1)
        groups = [system.sessions[start : start + _CLIENTS] for start in range(0, session_count, _CLIENTS)]
        # The order is reversed in every second round, because the service gets faster while it warms up.
        lengths = [length for number in range(rounds) for length in LENGTHS[:: 1 if number % 2 else -1]]
        for length, sessions in zip(lengths, groups, strict=True):
            _execute(connection, _FILL, {"length": length, "sessions": sessions})
        _wait_for_index(connection)
        _execute(connection, "ANALYZE", {})
        measure_turns(replace(system, sessions=system.sessions[session_count:]), _WARM_UP)
        for length, sessions in zip(lengths, groups, strict=True):
            measured[length].append(_measure(connection, replace(system, sessions=sessions), turns))
    extent = (
        f"{rounds} rounds of {turns} turns in each of {_CLIENTS} concurrent sessions, alternately short and long ones"
    )
    return _report(measured, extent)


@contextmanager
def _postgres_with_statement_counts() -> Iterator[tuple[str, Any]]:
    """Start a PostgreSQL server with `pg_stat_statements`; yield its URL and a superuser connection."""
    with temporary_home() as home:
        server = Postgres(home, options={"shared_preload_libraries": "pg_stat_statements"})
        server.start()
        try:
            url = urlsplit(server.url())
            # Only a superuser can create the extension.
            connection = psycopg2.connect(urlunsplit(url._replace(netloc=url.netloc.replace("chat@", "postgres@"))))
            connection.autocommit = True
            _execute(connection, "CREATE EXTENSION pg_stat_statements", {})
            yield server.url(), connection
            connection.close()
        finally:
            server.stop()


def _wait_for_index(connection: Any) -> None:  # noqa: ANN401 - psycopg2 has no types
    """Wait until the worker has indexed the inserted messages: it reads each of them once.

    Raises:
        TimeoutError: it has not done so within `_INDEX_TIMEOUT` seconds.

    """
    deadline = time.monotonic() + _INDEX_TIMEOUT
    while not _execute(connection, _IS_INDEXED, {})[0][0]:
        if time.monotonic() > deadline:
            raise TimeoutError("the inserted messages were not indexed")
        time.sleep(0.5)


def _measure(connection: Any, target: Target, turns: int) -> Costs:  # noqa: ANN401 - psycopg2 has no types
    rows, statements = _rows_read(connection), _statements(connection)
    run = measure_turns(target, turns)
    count = len(run.seconds)
    calls = {query: after - statements.get(query, 0) for query, after in _statements(connection).items()}
    return Costs(
        # Without the statements of background jobs, which are rare.
        statements=sum(number for number in calls.values() if number >= count / 2) / count,
        rows=(_rows_read(connection) - rows) / count,
        cpu=max(run.cpu, CPU_TICK) / count,
    )


def _rows_read(connection: Any) -> int:  # noqa: ANN401
    time.sleep(_STATISTICS_DELAY)
    return int(_execute(connection, _ROWS_READ, {})[0][0])


def _statements(connection: Any) -> dict[int, int]:  # noqa: ANN401
    return {query: int(calls) for query, calls in _execute(connection, _STATEMENTS, {})}


def _execute(connection: Any, statement: str, parameters: dict[str, object]) -> list[tuple[Any, ...]]:  # noqa: ANN401
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def _report(measured: dict[int, list[Costs]], extent: str) -> str:
    lines = [
        f"{extent}. Values are medians of the rounds; CPU is that of the service.",
        "",
        "| Messages in the session | statements per turn | messages read per turn | CPU per turn |",
        "|---|---|---|---|",
    ]
    medians = [_median(measured[length]) for length in LENGTHS]
    for length, costs in zip(LENGTHS, medians, strict=True):
        lines.append(f"| {length} | {costs.statements:.2f} | {costs.rows:.1f} | {costs.cpu * 1000:.2f} ms |")
    short, long = medians
    ratios = (long.statements / short.statements, long.rows / short.rows, long.cpu / short.cpu)
    return "\n".join([*lines, f"| **ratio** | {' | '.join(f'**{ratio:.2f}**' for ratio in ratios)} |"])


def _median(runs: Sequence[Costs]) -> Costs:
    return Costs(
        statements=statistics.median(run.statements for run in runs),
        rows=statistics.median(run.rows for run in runs),
        cpu=statistics.median(run.cpu for run in runs),
    )
