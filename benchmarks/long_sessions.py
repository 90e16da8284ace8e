"""What a turn costs in a long session and in a short one: nothing in it may grow with what has been said before."""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg2

from benchmarks.comparison import running_comparison
from benchmarks.load import CPU_TICK, Target, measure_turns
from local.postgres import Postgres

LENGTHS = (20, 500)
"""Messages of the sessions that are compared."""
_CLIENTS = 8
_WARM_UP = 300
_STATISTICS_ARE_LATE = 11.0
"""Seconds after which PostgreSQL has written down what idle connections have read."""
# Which messages go along is measured elsewhere: the same number of them here, and no notes of the others.
_SETTINGS = {"LLM_HISTORY_MESSAGES": "10", "LLM_SUMMARY_ENABLED": "false"}
_FILL = """
INSERT INTO chat_messages (uuid, session_id, seq, role, content, status)
SELECT gen_random_uuid(), id, seq, CASE seq %% 2 WHEN 1 THEN 'user' ELSE 'assistant' END,
    CASE seq %% 2 WHEN 1 THEN 'What is the answer?' ELSE repeat('lorem ', 40) END, 'complete'
FROM chat_sessions, generate_series(1, %(length)s) AS seq WHERE uuid = ANY(%(sessions)s::uuid[]);
UPDATE chat_sessions SET last_seq = %(length)s, message_count = %(length)s WHERE uuid = ANY(%(sessions)s::uuid[])
"""
# The table that has more rows for a longer session. What is read of the others depends on how full they are.
_ROWS_READ = (
    "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relid = 'public.chat_messages'::regclass"
)
_STATEMENTS = "SELECT queryid, sum(calls) FROM pg_stat_statements GROUP BY queryid"


@dataclass(frozen=True)
class Costs:
    """Of one turn."""

    statements: float
    rows: float
    """Of messages."""
    cpu: float
    """Seconds."""


def long_sessions(*, rounds: int = 4, turns: int = 50) -> str:
    """Measure it, with so many turns of each client in each round, and return the report."""
    measured: defaultdict[int, list[Costs]] = defaultdict(list)
    needed = _CLIENTS * len(LENGTHS) * rounds
    with (
        _counting_postgres() as (url, connection),
        running_comparison(sessions=needed + 1, tokens=40, settings={"DATABASE_URL": url, **_SETTINGS}) as contenders,
    ):
        system = contenders.target("system", needed + 1)
        groups = [system.sessions[start : start + _CLIENTS] for start in range(0, needed, _CLIENTS)]
        # Who is first in one round is last in the next: the machine, and the service, get warmer.
        lengths = [length for number in range(rounds) for length in LENGTHS[:: 1 if number % 2 else -1]]
        for length, sessions in zip(lengths, groups, strict=True):
            _do(connection, _FILL, {"length": length, "sessions": sessions})
        _do(connection, "ANALYZE", {})
        measure_turns(replace(system, sessions=system.sessions[needed:]), _WARM_UP)
        for length, sessions in zip(lengths, groups, strict=True):
            measured[length].append(_measure(connection, replace(system, sessions=sessions), turns))
    extent = f"{rounds} rounds of {turns} turns in each of {_CLIENTS} sessions at once, short and long ones in turns"
    return _report(measured, extent)


@contextmanager
def _counting_postgres() -> Iterator[tuple[str, Any]]:
    """Start a PostgreSQL that counts statements. Give its URL, and a connection to read the counts."""
    with tempfile.TemporaryDirectory(prefix="chat-bench-", ignore_cleanup_errors=True) as directory:
        server = Postgres(Path(directory), options={"shared_preload_libraries": "pg_stat_statements"})
        server.start()
        try:
            url = urlsplit(server.url())
            # Only a superuser may load it.
            connection = psycopg2.connect(urlunsplit(url._replace(netloc=url.netloc.replace("chat@", "postgres@"))))
            connection.autocommit = True
            _do(connection, "CREATE EXTENSION pg_stat_statements", {})
            yield server.url(), connection
            connection.close()
        finally:
            server.stop()


def _measure(connection: Any, target: Target, turns: int) -> Costs:  # noqa: ANN401 - psycopg2 has no types
    rows, statements = _rows_read(connection), _statements(connection)
    run = measure_turns(target, turns)
    count = len(run.seconds)
    calls = {query: after - statements.get(query, 0) for query, after in _statements(connection).items()}
    return Costs(
        # Not those of background jobs, which are few.
        statements=sum(number for number in calls.values() if number >= count / 2) / count,
        rows=(_rows_read(connection) - rows) / count,
        cpu=max(run.cpu, CPU_TICK) / count,
    )


def _rows_read(connection: Any) -> int:  # noqa: ANN401
    time.sleep(_STATISTICS_ARE_LATE)
    return int(_do(connection, _ROWS_READ, {})[0][0])


def _statements(connection: Any) -> dict[int, int]:  # noqa: ANN401
    return {query: int(calls) for query, calls in _do(connection, _STATEMENTS, {})}


def _do(connection: Any, statement: str, parameters: dict[str, object]) -> list[tuple[Any, ...]]:  # noqa: ANN401
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def _report(measured: dict[int, list[Costs]], extent: str) -> str:
    lines = [
        f"{extent}. Of each figure the median of the rounds; CPU is the service's.",
        "",
        "| Messages before | statements a turn | messages read a turn | CPU a turn |",
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
