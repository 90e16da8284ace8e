"""Duration of claims of webhook deliveries, depending on how many were delivered since the last VACUUM."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from app.database.connection import Database
from app.database.repositories.webhooks import delivery_queue
from benchmarks import table_measurements
from benchmarks.table_data import DELIVERY_LOG, EVENT_DATA, FilledCluster
from benchmarks.table_measurements import Latencies

_STEPS: Final = 4
_CLAIMS: Final = 50
_BATCH: Final = 10_000
_INDEX: Final = "ix_webhook_deliveries_pending"
# As the outbox, the claim and the record of an attempt write a delivery: three versions of each row.
_INSERT: Final = """
INSERT INTO webhook_deliveries (event_id, endpoint_id, type, data, next_attempt_at)
SELECT uuidv7(), (SELECT min(id) FROM webhook_endpoints) + n %% 10, 'turn.completed', %(data)s, clock_timestamp()
FROM generate_series(1, %(rows)s) AS n
"""
_CLAIM: Final = """
UPDATE webhook_deliveries SET attempts = 1, next_attempt_at = clock_timestamp() + interval '25 s'
WHERE status = 'pending'
"""
_RECORD: Final = """
UPDATE webhook_deliveries SET status = 'delivered', next_attempt_at = NULL, response_status = 200, log = %(log)s
WHERE status = 'pending'
"""


async def claims_after_deliveries(
    cluster: FilledCluster, services: Database, deliveries: int
) -> Mapping[int, tuple[Latencies, int]]:
    """Return the latencies of claims and the size of the index of pending deliveries, by the number of deliveries."""

    async def claim() -> None:
        async with services.autocommit() as connection:
            await delivery_queue.claim(connection, lease=timedelta(seconds=25), limit=200, per_endpoint=4)

    async def measured() -> tuple[Latencies, int]:
        size = cluster.value("SELECT pg_relation_size(%s)", [_INDEX])
        return await table_measurements.measure(claim, _CLAIMS), size

    cluster.rows("ALTER TABLE webhook_deliveries SET (autovacuum_enabled = off)")
    cluster.rows("UPDATE webhook_deliveries SET status = 'delivered', next_attempt_at = NULL WHERE status = 'pending'")
    cluster.rows("VACUUM webhook_deliveries")
    cluster.rows(f"REINDEX INDEX {_INDEX}")
    results = {0: await measured()}
    batch = min(_BATCH, deliveries // _STEPS)
    parameters = {"data": json.dumps(EVENT_DATA), "log": json.dumps(DELIVERY_LOG), "rows": batch}
    for number in range(1, deliveries // batch + 1):
        for statement in (_INSERT, _CLAIM, _RECORD):
            cluster.rows(statement, parameters if "%(" in statement else ())
        await claim()  # as the worker does in between
        if number * batch * _STEPS % deliveries == 0:
            results[number * batch] = await measured()
    return results
