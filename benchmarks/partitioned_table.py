"""Comparison of the audit log with a copy that is partitioned by time, and the conversion of the audit log itself."""

import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import query_plans
from benchmarks.table_data import SPAN, FilledCluster, execute
from benchmarks.table_measurements import Latencies

PLAIN: Final = "audit_log"
PARTITIONED: Final = "audit_log_by_month"
PARTITIONS: Final = 12
_INDEXES: Final = {
    "created_at": "(created_at)",
    "action_created_at": "(action, created_at)",
    "refused_created_at": "(created_at) WHERE outcome = 'refused'",
    "actor_id_created_at": "(actor_id, created_at)",
    "target_id_created_at": "(target_id, created_at)",
}
_COLUMNS: Final = (
    "(id, action, outcome, actor_id, target_id, ip, request_id, details, created_at) OVERRIDING SYSTEM VALUE"
)
_INSERT: Final = f"""
INSERT INTO {{0}} {_COLUMNS} VALUES ($1, 'login.opened', 'done', $2, $2, '10.1.2.3', '0193b4f1e7c27c6e9d3a8f0b5a1c2d3e',
    '{{{{}}}}', clock_timestamp())
"""  # noqa: S608 - no data of users
_BULK: Final = f"""
INSERT INTO {{0}} {_COLUMNS}
SELECT -n, 'login.opened', 'done', uuid, uuid, '10.1.2.3', replace(gen_random_uuid()::text, '-', ''), '{{{{}}}}',
    clock_timestamp()
FROM generate_series(%(from)s, %(to)s) AS n
JOIN (SELECT row_number() OVER () AS number, uuid FROM users) AS account ON number = 1 + n %% 3000
"""  # noqa: S608
_QUERIES: Final = {
    "first page": "true",
    "by account": "actor_id = %(account)s",
    "rare action of an account": "actor_id = %(account)s AND action = 'session.read'",
    "page in the middle": "(created_at, id) < (%(middle)s, 0)",
    "page in the middle, by account": "actor_id = %(account)s AND (created_at, id) < (%(middle)s, 0)",
}


@dataclass(frozen=True)
class Comparison:
    """What was measured with both tables, of each pair the plain one first."""

    sizes: tuple[int, int]
    single_inserts: tuple[Latencies, Latencies]
    bulk_rows: int
    bulk_seconds: tuple[float, float]
    queries: Mapping[str, tuple[Latencies, Latencies]]
    partition_rows: int
    detached_seconds: list[float]
    """Durations of removing a partition without blocking: `DETACH ... CONCURRENTLY`, then DROP."""
    dropped_seconds: list[float]
    """Durations of removing a partition with DROP alone."""
    inserts_meanwhile: Latencies


@dataclass(frozen=True)
class Conversion:
    """Durations in seconds of the steps that make the audit log the first partition of a partitioned table."""

    rows: int
    validation: float
    """CHECK constraint that proves the bounds of the partition, while writes go on."""
    unique_index: float
    """Index of the new primary key, while writes go on."""
    exchange: float
    """Transaction that exchanges the tables, during which the audit log is locked."""


def scratch_statements() -> str:
    """Return the statements that create and fill the partitioned copy of the audit log."""
    step = f"interval '{SPAN.days} days' / {PARTITIONS}"
    bounds = [
        "'-infinity'",
        *(f"now() - interval '{SPAN.days} days' + {number} * {step}" for number in range(1, PARTITIONS)),
        "'infinity'",
    ]
    create = f"CREATE TABLE {PARTITIONED} (LIKE {PLAIN} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
    partitions = [
        f"DO $$ BEGIN EXECUTE format('CREATE TABLE {PARTITIONED}_{number} PARTITION OF {PARTITIONED}"
        f" FOR VALUES FROM (%L) TO (%L)', {bounds[number - 1]}, {bounds[number]}); END $$"
        for number in range(1, PARTITIONS + 1)
    ]
    return "; ".join(
        [
            f"{create} PARTITION BY RANGE (created_at)",
            *partitions,
            f"ALTER TABLE {PARTITIONED} ADD PRIMARY KEY (created_at, id)",
            *(f"CREATE INDEX ON {PARTITIONED} {columns}" for columns in _INDEXES.values()),
            f"INSERT INTO {PARTITIONED} SELECT * FROM {PLAIN}",  # noqa: S608 - no data of users
        ]
    )


def compare(cluster: FilledCluster, *, inserts: int, bulk_rows: int, requests: int) -> Comparison:
    """Measure both tables; the older half of the partitions is removed at the end."""
    with closing(query_plans.connect_superuser(cluster.server)) as connection:
        # Without waiting for the disk, which would hide the difference.
        execute(connection, "SET synchronous_commit = off")
        single = _insert_singly(connection, inserts)
        bulk = _insert_in_bulk(connection, bulk_rows)
        queries = {title: _query(connection, condition, requests) for title, condition in _QUERIES.items()}
    sizes = (
        cluster.value(f"SELECT pg_total_relation_size('{PLAIN}')"),
        cluster.value(f"SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('{PARTITIONED}')"),  # noqa: S608
    )
    partition_rows = cluster.value(f"SELECT count(*) FROM {PARTITIONED}_2")  # noqa: S608
    half = PARTITIONS // 2
    with _inserting(cluster) as times:
        detached = [_detach(cluster, number) for number in range(1, half // 2 + 1)]
        dropped = [_drop(cluster, number) for number in range(half // 2 + 1, half + 1)]
    return Comparison(
        (int(sizes[0]), int(sizes[1])),
        single,
        bulk_rows,
        bulk,
        queries,
        partition_rows,
        detached,
        dropped,
        Latencies.of(times),
    )


def convert(cluster: FilledCluster) -> Conversion:
    """Make the audit log the first partition of a partitioned table, as an upgrade under traffic would."""
    cut = cluster.value("SELECT quote_literal(date_trunc('month', now()) + interval '1 month')")
    rows = cluster.value(f"SELECT count(*) FROM {PLAIN}")  # noqa: S608 - no data of users
    last = cluster.value(f"SELECT max(id) FROM {PLAIN}")  # noqa: S608
    cluster.rows(f"ALTER TABLE {PLAIN} ADD CONSTRAINT bounds CHECK (created_at < {cut}) NOT VALID")
    validation = _timed(cluster, f"ALTER TABLE {PLAIN} VALIDATE CONSTRAINT bounds")
    unique_index = _timed(cluster, f"CREATE UNIQUE INDEX CONCURRENTLY uq_old ON {PLAIN} (created_at, id)")
    columns = f"CREATE TABLE {PLAIN} (LIKE {PLAIN}_old INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
    exchange = [
        f"ALTER TABLE {PLAIN} DROP CONSTRAINT pk_{PLAIN}",
        f"ALTER TABLE {PLAIN} ADD CONSTRAINT pk_old PRIMARY KEY USING INDEX uq_old",
        f"ALTER TABLE {PLAIN} ALTER id DROP IDENTITY",
        f"ALTER TABLE {PLAIN} RENAME TO {PLAIN}_old",
        *(f"ALTER INDEX ix_{PLAIN}_{name} RENAME TO ix_{PLAIN}_old_{name}" for name in _INDEXES),
        f"{columns} PARTITION BY RANGE (created_at)",
        f"ALTER TABLE {PLAIN} DROP CONSTRAINT bounds",
        f"ALTER TABLE {PLAIN} ALTER id ADD GENERATED ALWAYS AS IDENTITY (START {last + 1})",
        f"ALTER TABLE {PLAIN} ADD CONSTRAINT pk_{PLAIN} PRIMARY KEY (created_at, id)",
        *(f"CREATE INDEX ix_{PLAIN}_{name} ON {PLAIN} {columns}" for name, columns in _INDEXES.items()),
        f"ALTER TABLE {PLAIN} ATTACH PARTITION {PLAIN}_old FOR VALUES FROM (MINVALUE) TO ({cut})",
        f"CREATE TABLE {PLAIN}_next PARTITION OF {PLAIN} FOR VALUES FROM ({cut}) TO (MAXVALUE)",
        *(
            f"CREATE TRIGGER {PLAIN}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION {PLAIN}_refuse_changes()"
            for table in (PLAIN, f"{PLAIN}_next")
        ),
        f"GRANT SELECT, INSERT ON {PLAIN} TO chat_service",
    ]
    return Conversion(rows, validation, unique_index, _timed(cluster, "; ".join(["BEGIN", *exchange, "COMMIT"])))


def _insert_singly(connection: Any, count: int) -> tuple[Latencies, Latencies]:  # noqa: ANN401 - psycopg2 has no types
    accounts = [account for (account,) in execute(connection, "SELECT uuid FROM users")]
    source = random.Random(1)  # noqa: S311 - not a secret
    times: dict[str, list[float]] = {PLAIN: [], PARTITIONED: []}
    for table in times:
        execute(connection, f"PREPARE insert_{table} (bigint, uuid) AS {_INSERT.format(table)}")
    for number in range(1, count + 1):
        for table, seconds in times.items():
            started = time.perf_counter()
            execute(connection, f"EXECUTE insert_{table} (%s, %s)", [-number, source.choice(accounts)])
            seconds.append(time.perf_counter() - started)
    return Latencies.of(times[PLAIN]), Latencies.of(times[PARTITIONED])


def _insert_in_bulk(connection: Any, rows: int, rounds: int = 4) -> tuple[float, float]:  # noqa: ANN401
    seconds = {PLAIN: 0.0, PARTITIONED: 0.0}
    for number in range(rounds):
        bounds = {"from": 10**9 + rows * number // rounds, "to": 10**9 + rows * (number + 1) // rounds - 1}
        for table in seconds:
            started = time.perf_counter()
            execute(connection, _BULK.format(table), bounds)
            seconds[table] += time.perf_counter() - started
    return seconds[PLAIN], seconds[PARTITIONED]


def _query(connection: Any, condition: str, requests: int) -> tuple[Latencies, Latencies]:  # noqa: ANN401
    accounts = [account for (account,) in execute(connection, "SELECT uuid FROM users")]
    source = random.Random(1)  # noqa: S311 - not a secret
    ((middle,),) = execute(connection, "SELECT now() - %s", [SPAN / 2])
    times: dict[str, list[float]] = {PLAIN: [], PARTITIONED: []}
    for _ in range(requests):
        parameters = {"account": source.choice(accounts), "middle": middle}
        for table, seconds in times.items():
            statement = f"SELECT * FROM {table} WHERE {condition} ORDER BY created_at DESC, id DESC LIMIT 51"  # noqa: S608
            started = time.perf_counter()
            execute(connection, statement, parameters)
            seconds.append(time.perf_counter() - started)
    return Latencies.of(times[PLAIN]), Latencies.of(times[PARTITIONED])


@contextmanager
def _inserting(cluster: FilledCluster) -> Iterator[list[float]]:
    """Insert rows into the partitioned table meanwhile; yield the list of durations in seconds."""
    times: list[float] = []
    stopping = threading.Event()

    def insert() -> None:
        with closing(query_plans.connect_superuser(cluster.server)) as connection:
            ((account,),) = execute(connection, "SELECT uuid FROM users LIMIT 1")
            execute(connection, f"PREPARE single (bigint, uuid) AS {_INSERT.format(PARTITIONED)}")
            number = 0
            while not stopping.is_set():
                number += 1
                started = time.perf_counter()
                execute(connection, "EXECUTE single (%s, %s)", [-2 * 10**9 - number, account])
                times.append(time.perf_counter() - started)
                time.sleep(0.005)

    thread = threading.Thread(target=insert)
    thread.start()
    try:
        time.sleep(1)
        yield times
        time.sleep(1)
    finally:
        stopping.set()
        thread.join()


def _detach(cluster: FilledCluster, number: int) -> float:
    partition = f"{PARTITIONED}_{number}"
    return _timed(cluster, f"ALTER TABLE {PARTITIONED} DETACH PARTITION {partition} CONCURRENTLY") + _timed(
        cluster, f"DROP TABLE {partition}"
    )


def _drop(cluster: FilledCluster, number: int) -> float:
    return _timed(cluster, f"DROP TABLE {PARTITIONED}_{number}")


def _timed(cluster: FilledCluster, statement: str) -> float:
    started = time.perf_counter()
    cluster.rows(statement)
    return time.perf_counter() - started
