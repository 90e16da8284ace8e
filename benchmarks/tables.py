"""Benchmark of the tables that grow: sizes, deletion in batches, VACUUM, queries, and a partitioned table.

`BENCH_ROWS` is the number of rows of each table.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Final

from app.config import DatabaseSettings
from app.database.connection import Database
from benchmarks import delivery_claims, partitioned_table, table_measurements, tables_report
from benchmarks.table_data import FilledCluster, filled_cluster
from benchmarks.table_measurements import Latencies, TableResult
from benchmarks.table_operations import AuditLog, GrowingTable, Ledger, WebhookDeliveries

ROWS: Final = int(os.environ.get("BENCH_ROWS", "10_000_000"))
_TABLES: Final[tuple[type[GrowingTable], ...]] = (AuditLog, WebhookDeliveries, Ledger)
_REQUESTS: Final = 200
_INSERTS: Final = 1000
_BULK_ROWS: Final = 200_000
_DELIVERIES: Final = 400_000
"""Number of deliveries after which claims are measured without VACUUM."""


def tables(
    rows: int = ROWS,
    requests: int = _REQUESTS,
    inserts: int = _INSERTS,
    bulk_rows: int = _BULK_ROWS,
    deliveries: int = _DELIVERIES,
) -> str:
    """Run the benchmark, and return the report."""
    started = time.monotonic()
    results = {}
    for kind in _TABLES:
        is_audit_log = kind is AuditLog
        scratch = partitioned_table.scratch_statements() if is_audit_log else None
        with filled_cluster(kind.name, rows, scratch=scratch) as cluster:
            # Before its rows are compared with those of the partitioned table, which adds some.
            sizes = table_measurements.sizes(cluster, kind.name)
            if is_audit_log:
                comparison = partitioned_table.compare(cluster, inserts=inserts, bulk_rows=bulk_rows, requests=requests)
            results[kind.name] = asyncio.run(_measure(kind, cluster, sizes, requests=requests, inserts=inserts))
            if is_audit_log:
                conversion = partitioned_table.convert(cluster)
            if kind is WebhookDeliveries:
                claims = asyncio.run(_measure_claims(cluster, deliveries))
        print(f"{kind.name}: {time.monotonic() - started:.0f} s", flush=True)
    fill = sum(result.fill_seconds for result in results.values())
    minutes = (time.monotonic() - started) / 60
    return "\n".join(
        [
            *tables_report.of_tables(results, rows),
            "",
            *tables_report.of_claims(claims),
            "",
            *tables_report.of_partitions(comparison, conversion),
            "",
            f"The run took {minutes:.0f} minutes, {fill / 60:.0f} of them to fill the tables.",
        ]
    )


async def _measure(
    kind: type[GrowingTable], cluster: FilledCluster, sizes: dict[str, int], *, requests: int, inserts: int
) -> TableResult:
    services, owner = (_database(url) for url in (cluster.server.service_url(), cluster.server.url()))
    try:
        table = kind(cluster, services, owner)
        queries = {title: await table_measurements.measure(query, requests) for title, query in table.queries().items()}
        cluster.rows(f"GRANT DELETE ON {table.name} TO chat")
        deletion = await table_measurements.delete_older_half(table, inserts)
    finally:
        await services.close()
        await owner.close()
    vacuum = table_measurements.vacuum(cluster, table.name)
    after_deletion = table_measurements.sizes(cluster, table.name)
    reindex_seconds = table_measurements.reindex(cluster, table.name)
    after_reindex = table_measurements.sizes(cluster, table.name)
    return TableResult(
        cluster.fill_seconds, sizes, queries, deletion, vacuum, after_deletion, reindex_seconds, after_reindex
    )


async def _measure_claims(cluster: FilledCluster, deliveries: int) -> Mapping[int, tuple[Latencies, int]]:
    services = _database(cluster.server.service_url())
    try:
        return await delivery_claims.claims_after_deliveries(cluster, services, deliveries)
    finally:
        await services.close()


def _database(url: str) -> Database:
    settings = DatabaseSettings(DATABASE_URL=url, MIGRATION_DATABASE_URL=None)
    return Database.from_settings(settings, application_name="benchmark")
