"""The jobs of a worker, and the loop that runs them.

Jobs are idempotent: they may run in several workers concurrently and be interrupted at any point. A later run resumes.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import Protocol

from app.chat.turns.recovery import LoadPublishedText, TurnRecovery, UsageEstimate
from app.config import Settings
from app.core.background_tasks import stop_tasks
from app.database.connection import Database, DatabaseConnection
from app.database.migrations import wait_for_schema
from app.database.repositories.accounts import attempt_counters, auth_sessions, one_time_tokens
from app.database.repositories.chat import idempotency_keys
from app.database.repositories.operations import instances, worker_jobs
from app.database.repositories.usage import quotas, reconciliation, rollup
from app.database.repositories.webhooks import deliveries
from app.services.heartbeat import Heartbeat
from app.services.llm.catalog import ModelCatalog
from app.services.redis.circuit_breaker import RedisCircuitBreaker
from app.services.redis.client import open_redis
from app.services.redis.stream_buffer import StreamBuffer
from app.worker.job import Job, JobReporter
from app.worker.reconciliation import UsageReconciliation
from app.worker.session_retention import open_session_retention
from app.worker.webhook_delivery import open_webhook_delivery

logger = logging.getLogger(__name__)

_STOP_TIMEOUT = 5.0
"""Timeout in seconds for running jobs when the worker stops."""
_BATCH_SIZE = 1000
_BATCH_TIMEOUT = 10.0
"""Timeout of one batch in seconds."""


class BatchOperation(Protocol):
    """Repository function that processes one batch of rows."""

    async def __call__(self, connection: DatabaseConnection, *, limit: int) -> int:
        """Process at most `limit` rows; return their number."""
        ...


def build_jobs(settings: Settings, database: Database, load_published_text: LoadPublishedText) -> Iterator[Job]:
    """Yield the jobs that need no resources of their own."""
    catalog = ModelCatalog.from_settings(settings)
    recovery = TurnRecovery(
        database, load_published_text, UsageEstimate(catalog.primary, settings.LLM_HISTORY_MESSAGES, catalog.cost)
    )
    deliveries_age = timedelta(days=settings.RETENTION_DELIVERY_DAYS)
    yield Job("settle abandoned turns", 1.5, recovery.recover_batch)
    for name, reconciler in (
        ("compare sums by quarter", reconciliation.QUARTERLY),
        ("compare sums by day", reconciliation.DAILY),
        ("compare sums by week", reconciliation.WEEKLY),
    ):
        yield Job(name, 10.0, UsageReconciliation(database, reconciler).reconcile_windows)
    for name, operation, interval in (
        ("sum up usage", rollup.roll_up, 2.0),
        ("purge idempotency keys", idempotency_keys.purge, 300.0),
        ("purge one-time tokens", one_time_tokens.purge, 300.0),
        ("purge throttles", attempt_counters.purge, 300.0),
        ("purge quota reservations", quotas.purge, 300.0),
        ("purge logins", auth_sessions.purge, 3600.0),
        ("purge instances", instances.purge, 3600.0),
        ("purge job records", worker_jobs.purge, 3600.0),
        ("purge webhook deliveries", partial(deliveries.purge, age=deliveries_age), 3600.0),
    ):
        yield Job(name, interval, _in_batches(database, operation))


async def run_jobs(jobs: Sequence[Job], stopping: asyncio.Event) -> None:
    """Run jobs until `stopping` is set, then wait up to `_STOP_TIMEOUT` for running ones and cancel the rest."""
    tasks = [asyncio.create_task(job.run(stopping)) for job in jobs]
    await stopping.wait()
    await stop_tasks(tasks, grace=_STOP_TIMEOUT)


async def run_worker(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT.

    Raises:
        StartupError: PostgreSQL does not answer, or its schema is older than this release needs.

    """
    async with AsyncExitStack() as stack:
        database = Database.from_settings(settings, application_name="worker")
        stack.push_async_callback(database.close)
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose)
        breaker = RedisCircuitBreaker(redis, budget=settings.REDIS_TIMEOUT)
        stack.push_async_callback(breaker.close)
        webhooks = await stack.enter_async_context(open_webhook_delivery(settings, database))
        jobs = [
            *build_jobs(settings, database, StreamBuffer(breaker, redis).published_text),
            Job("deliver webhooks", 1.0, webhooks.deliver_due),
        ]
        if days := settings.RETENTION_SESSION_DAYS:
            retention = await stack.enter_async_context(open_session_retention(database, breaker, days=days))
            jobs.append(Job("delete unused sessions", 600.0, retention.delete_unused))
        await wait_for_schema(database)
        heartbeat = Heartbeat(database, service="worker", version=settings.VERSION)
        heartbeat.add_stats("database", database.pool_stats)
        heartbeat.add_stats("redis", breaker.stats)
        heartbeat.add_stats("webhooks", webhooks.stats)
        heartbeat.add_report(JobReporter(jobs).write)
        stack.push_async_callback(heartbeat.close)
        # No job has started yet. Until here the default handlers of the signals end the process.
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        logger.info("worker started")
        heartbeat.start()
        await run_jobs(jobs, stopping)
    logger.info("worker stopped")


def _in_batches(database: Database, operation: BatchOperation) -> Callable[[], Awaitable[int]]:
    """Return a job function that repeats `operation` until a batch is not full."""

    async def process_all() -> int:
        processed = 0
        while True:
            async with database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
                count = await operation(connection, limit=_BATCH_SIZE)
            processed += count
            if count < _BATCH_SIZE:
                return processed

    return process_all
