"""Measurements of a table: latencies, batches of a deletion, sizes, dead rows and VACUUM."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.table_data import FilledCluster
from benchmarks.table_operations import GrowingTable

_INSERT_INTERVAL: Final = 0.01
_WARM_UP: Final = 20


@dataclass(frozen=True)
class Latencies:
    """Response times in milliseconds."""

    p50: float
    p95: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latencies":
        """Summarize times in seconds."""
        times = [second * 1000 for second in sorted(seconds)]
        return cls(statistics.median(times), times[len(times) * 95 // 100], times[-1])


@dataclass(frozen=True)
class Deletion:
    """Deletion of the older half of a table, in batches, while single rows are inserted."""

    batch_size: int
    batches: list[float]
    """Duration of each batch in seconds."""
    rows: int
    seconds: float
    inserts_before: Latencies
    inserts_during: Latencies
    autovacuums: int
    autovacuum_seconds: float
    """Autovacuum during the deletion: number of completed runs, and their duration."""

    def part(self, position: float) -> float:
        """Return the median duration of a batch in milliseconds, at a position from 0 (first) to 1 (last)."""
        count = max(len(self.batches) // 20, 1)
        first = round((len(self.batches) - count) * position)
        return statistics.median(self.batches[first : first + count]) * 1000


@dataclass(frozen=True)
class Vacuum:
    """A VACUUM after the deletion."""

    dead_rows: int
    seconds: float
    dead_rows_after: int


@dataclass(frozen=True)
class TableResult:
    """Measurements of a table. Sizes in bytes: of the table and of each index."""

    fill_seconds: float
    sizes: dict[str, int]
    queries: Mapping[str, Latencies]
    deletion: Deletion
    vacuum: Vacuum
    sizes_after_deletion: dict[str, int]
    reindex_seconds: float
    sizes_after_reindex: dict[str, int]


async def measure(operation: Callable[[], Awaitable[Any]], count: int) -> Latencies:
    """Return the latencies of sequential calls, after a few others."""
    for _ in range(_WARM_UP):
        await operation()
    return Latencies.of([await _timed(operation) for _ in range(count)])


async def delete_older_half(table: GrowingTable, inserts: int) -> Deletion:
    """Delete the older half in batches; measure `inserts` insertions before, and insertions meanwhile."""
    before = asyncio.Event()
    times_before = await _insert_until(table, before, inserts)
    autovacuums_before = _autovacuums(table)
    stopping = asyncio.Event()
    inserting = asyncio.create_task(_insert_until(table, stopping))
    batches: list[float] = []
    rows, started = 0, time.perf_counter()
    while True:
        batch_started = time.perf_counter()
        deleted = await table.delete_batch()
        batches.append(time.perf_counter() - batch_started)
        rows += deleted
        if deleted < table.batch_size:
            break
    seconds = time.perf_counter() - started
    stopping.set()
    times_during = await inserting
    autovacuums = [after - before for after, before in zip(_autovacuums(table), autovacuums_before, strict=True)]
    return Deletion(
        table.batch_size,
        batches,
        rows,
        seconds,
        Latencies.of(times_before),
        Latencies.of(times_during),
        round(autovacuums[0]),
        autovacuums[1],
    )


def vacuum(cluster: FilledCluster, table: str) -> Vacuum:
    """Run VACUUM ANALYZE without a cost limit."""
    dead_rows = _dead_rows(cluster, table)
    started = time.perf_counter()
    cluster.rows(f"VACUUM (ANALYZE) {table}")
    seconds = time.perf_counter() - started
    return Vacuum(dead_rows, seconds, _dead_rows(cluster, table))


def sizes(cluster: FilledCluster, table: str) -> dict[str, int]:
    """Return the sizes in bytes of the table, with TOAST and maps, and of each of its indexes."""
    rows = cluster.rows(
        "SELECT %(table)s, pg_table_size(%(table)s::regclass) UNION ALL (SELECT indexrelid::regclass::text,"
        " pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = %(table)s::regclass ORDER BY 1)",
        {"table": table},
    )
    return dict(rows)


def reindex(cluster: FilledCluster, table: str) -> float:
    """Rebuild all indexes of a table while it can be used; return the duration in seconds."""
    started = time.perf_counter()
    cluster.rows(f"REINDEX TABLE CONCURRENTLY {table}")
    return time.perf_counter() - started


async def _timed(operation: Callable[[], Awaitable[Any]]) -> float:
    started = time.perf_counter()
    await operation()
    return time.perf_counter() - started


async def _insert_until(table: GrowingTable, stopping: asyncio.Event, count: int | None = None) -> list[float]:
    """Insert a row every few milliseconds until `stopping` is set, or `count` rows; return the times in seconds."""
    times: list[float] = []
    while not stopping.is_set() and len(times) != count:
        times.append(await _timed(table.insert))
        await asyncio.sleep(_INSERT_INTERVAL)
    return times


def _dead_rows(cluster: FilledCluster, table: str) -> int:
    # Connections report their statistics with a delay of up to a second.
    time.sleep(1.5)
    return int(cluster.value("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = %s", [table]))


def _autovacuums(table: GrowingTable) -> tuple[float, float]:
    ((count, milliseconds),) = table.cluster.rows(
        "SELECT autovacuum_count, total_autovacuum_time FROM pg_stat_user_tables WHERE relname = %s", [table.name]
    )
    return count, milliseconds / 1000
