"""Report of the benchmark of the tables that grow, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from benchmarks.partitioned_table import Comparison, Conversion
from benchmarks.table_measurements import Latencies, TableResult

_MEGABYTE: Final = 1_000_000


def of_tables(results: Mapping[str, TableResult], rows: int) -> list[str]:
    """Return the lines about sizes, deletions, VACUUM and queries of the tables."""
    return [
        f"{rows:,} rows in each table. The indexes were built after the rows, so that their pages are full.",
        "",
        *_table(
            ("Table", "table", "indexes", "bytes per row"),
            [
                (f"`{name}`", _mb(result.sizes[name]), _mb(_indexes(result, name)), f"{_total(result) / rows:.0f}")
                for name, result in results.items()
            ],
        ),
        "",
        "Deletion of the older half in batches. Meanwhile, single rows are inserted.",
        "",
        *_table(
            ("Table", "rows per batch", "first batches", "middle", "last", "longest", "rows per second", "autovacuum"),
            [
                (
                    f"`{name}`",
                    f"{done.batch_size:,}",
                    *(_ms(done.part(position)) for position in (0, 0.5, 1)),
                    _ms(max(done.batches) * 1000),
                    f"{done.rows / done.seconds:,.0f}",
                    f"{done.autovacuums} completed, {done.autovacuum_seconds:.0f} s",
                )
                for name, done in ((name, result.deletion) for name, result in results.items())
            ],
        ),
        "",
        *_table(
            ("Insertion of a row", "before: p50", "p95", "during the deletion: p50", "p95", "longest"),
            [
                (f"`{name}`", _ms(before.p50), _ms(before.p95), _ms(during.p50), _ms(during.p95), _ms(during.longest))
                for name, before, during in (
                    (name, result.deletion.inserts_before, result.deletion.inserts_during)
                    for name, result in results.items()
                )
            ],
        ),
        "",
        *_table(
            ("After the deletion", "dead rows", "VACUUM", "dead rows after it", "REINDEX CONCURRENTLY"),
            [
                (
                    f"`{name}`",
                    f"{result.vacuum.dead_rows:,}",
                    f"{result.vacuum.seconds:.1f} s",
                    f"{result.vacuum.dead_rows_after:,}",
                    f"{result.reindex_seconds:.1f} s",
                )
                for name, result in results.items()
            ],
        ),
        "",
        *_table(
            ("Table or index", "size", "after deletion and VACUUM", "after REINDEX"),
            [
                (
                    f"`{name}`",
                    _mb(size),
                    _mb(result.sizes_after_deletion[name]),
                    _mb(result.sizes_after_reindex[name]),
                )
                for result in results.values()
                for name, size in result.sizes.items()
            ],
        ),
        "",
        *_table(
            ("Query", "p50", "p95"),
            [
                (f"`{name}`, {title}", _ms(times.p50), _ms(times.p95))
                for name, result in results.items()
                for title, times in result.queries.items()
            ],
        ),
    ]


def of_claims(claims: Mapping[int, tuple[Latencies, int]]) -> list[str]:
    """Return the lines about claims of webhook deliveries."""
    return [
        "Claim of the next deliveries by a worker:",
        "",
        *_table(
            ("Deliveries since the last VACUUM", "claim: p50", "p95", "index of pending deliveries"),
            [
                (f"{count:,}", _ms(times.p50), _ms(times.p95), f"{size / _MEGABYTE:.1f} MB")
                for count, (times, size) in claims.items()
            ],
        ),
    ]


def of_partitions(comparison: Comparison, conversion: Conversion) -> list[str]:
    """Return the lines about the partitioned copy of the audit log."""
    pairs = {"insertion of a row": comparison.single_inserts, **comparison.queries}
    removal = (
        f"A partition of {comparison.partition_rows:,} rows was removed in {_seconds(comparison.dropped_seconds)} with"
        f" DROP, and in {_seconds(comparison.detached_seconds)} with DETACH CONCURRENTLY and DROP. The longest"
        f" insertion meanwhile took {_ms(comparison.inserts_meanwhile.longest)}."
    )
    steps = (
        f"Conversion of the audit log with {conversion.rows:,} rows: {conversion.validation:.1f} s to validate the"
        f" bounds, {conversion.unique_index:.1f} s for the index of the new primary key, while writes go on; then the"
        f" table was locked for {conversion.exchange * 1000:.0f} ms."
    )
    return [
        "The audit log, and a copy of it with 12 partitions, without waiting for the disk:",
        "",
        *_table(
            ("", "one table", "12 partitions"),
            [
                ("size with indexes", *map(_mb, comparison.sizes)),
                (f"insertion of {comparison.bulk_rows:,} rows", *(f"{each:.1f} s" for each in comparison.bulk_seconds)),
                *(
                    (f"{title}, p50 / p95", *(f"{times.p50:.2f} / {times.p95:.2f} ms" for times in pair))
                    for title, pair in pairs.items()
                ),
            ],
        ),
        "",
        removal,
        "",
        steps,
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]


def _total(result: TableResult) -> int:
    return sum(result.sizes.values())


def _indexes(result: TableResult, table: str) -> int:
    return _total(result) - result.sizes[table]


def _mb(size: int) -> str:
    return f"{size / _MEGABYTE:,.0f} MB"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:,.1f} ms"


def _seconds(durations: Sequence[float]) -> str:
    return f"{min(durations):.2f} to {max(durations):.2f} s"
