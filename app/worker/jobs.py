"""The periodic jobs of a worker, apart from those with resources of their own.

Jobs are idempotent: they may run in several workers concurrently and be interrupted at any point. A later run resumes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Protocol

from app.chat.turns.recovery import LoadPublishedText, TurnRecovery, UsageEstimate
from app.config import Settings
from app.database.connection import Database, DatabaseConnection
from app.database.repositories.accounts import attempt_counters, auth_sessions, invitations, one_time_tokens
from app.database.repositories.operations import instances, job_statistics
from app.database.repositories.sharing import shares
from app.database.repositories.transfer import imports
from app.database.repositories.turns import idempotency_keys
from app.database.repositories.usage import quotas, reconciliation, rollup
from app.database.repositories.webhooks import delivery_queue
from app.services.llm.catalog import ModelCatalog
from app.services.search.indexer import SearchIndexer
from app.worker.periodic_job import Job
from app.worker.reconciliation import UsageReconciliation

_BATCH_SIZE = 1000
_BATCH_TIMEOUT = 10.0
"""Timeout of one batch in seconds."""
_RUN_SECONDS = 30.0
"""Duration in seconds after which a run begins no further batch. The timeout of a run would count it as failed."""


class BatchOperation(Protocol):
    """Repository function that processes one batch of rows."""

    async def __call__(self, connection: DatabaseConnection, *, limit: int) -> int:
        """Process at most `limit` rows; return their number."""
        ...


def build_jobs(settings: Settings, database: Database, load_published_text: LoadPublishedText) -> Iterator[Job]:
    """Yield the jobs that need no resources of their own."""
    catalog = ModelCatalog.from_settings(settings)
    recovery = TurnRecovery(
        database, load_published_text, UsageEstimate(catalog.primary, settings.LLM_HISTORY_MESSAGES, catalog)
    )
    deliveries_age = timedelta(days=settings.RETENTION_DELIVERY_DAYS)
    yield Job("settle abandoned turns", 1.5, recovery.recover_batch)
    yield Job("index texts", 2.0, SearchIndexer(database).index_all)
    for name, reconciler in (
        ("compare sums by quarter", reconciliation.QUARTERLY),
        ("compare sums by day", reconciliation.DAILY),
        ("compare sums by week", reconciliation.WEEKLY),
        ("compare sums by provider", reconciliation.PROVIDERS),
    ):
        yield Job(name, 10.0, UsageReconciliation(database, reconciler).reconcile_windows)
    for name, operation, interval in (
        ("sum up usage", rollup.roll_up, 2.0),
        ("purge idempotency keys", idempotency_keys.purge, 300.0),
        ("purge one-time tokens", one_time_tokens.purge, 300.0),
        ("purge invitations", invitations.purge, 300.0),
        ("purge expired shares", shares.purge, 300.0),
        ("purge throttles", attempt_counters.purge, 300.0),
        ("interrupt expired imports", imports.interrupt_expired, 30.0),
        ("purge imports", imports.purge, 3600.0),
        ("purge quota reservations", quotas.purge, 300.0),
        ("purge logins", auth_sessions.purge, 3600.0),
        ("purge instances", instances.purge, 3600.0),
        ("purge job records", job_statistics.purge, 3600.0),
        ("purge webhook deliveries", delivery_queue.purge(age=deliveries_age).delete_batch, 300.0),
    ):
        yield Job(name, interval, _in_batches(database, operation))


def _in_batches(database: Database, operation: BatchOperation) -> Callable[[], Awaitable[int]]:
    """Return a job function that repeats `operation` until a batch is not full, for at most `_RUN_SECONDS`."""

    async def process_all() -> int:
        now = asyncio.get_running_loop().time
        deadline = now() + _RUN_SECONDS
        processed = 0
        while True:
            async with database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
                count = await operation(connection, limit=_BATCH_SIZE)
            processed += count
            if count < _BATCH_SIZE or now() >= deadline:
                return processed

    return process_all
