"""The jobs of a worker, and the loop that runs them.

Every job may run twice, or be interrupted at any point: its result stays correct, and the rest is done in a later run.
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

_STOP_SECONDS = 5.0
"""What a job that is at it may still take when the worker is told to stop."""

_BATCH = 1000

_BATCH_SECONDS = 10.0
"""What one batch may take."""


class Batch(Protocol):
    """Does a part of what there is to do, and says how much; see the repositories."""

    async def __call__(self, connection: DatabaseConnection, *, limit: int) -> int:
        """Remove, or sum up, at most `limit` rows."""
        ...


def jobs(settings: Settings, database: Database, load_published_text: LoadPublishedText) -> Iterator[Job]:
    """List what there is to do."""
    catalog = ModelCatalog.from_settings(settings)
    abandoned = TurnRecovery(
        database, load_published_text, UsageEstimate(catalog.primary, settings.LLM_HISTORY_MESSAGES, catalog.cost)
    )
    deliveries_age = timedelta(days=settings.RETENTION_DELIVERY_DAYS)
    yield Job("settle abandoned turns", 1.5, abandoned.recover_batch)
    for name, walk in (
        ("compare sums by quarter", reconciliation.QUARTERLY),
        ("compare sums by day", reconciliation.DAILY),
        ("compare sums by week", reconciliation.WEEKLY),
    ):
        yield Job(name, 10.0, UsageReconciliation(database, walk).compare_some)
    for name, batch, interval in (
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
        yield Job(name, interval, _in_batches(database, batch))


async def run(jobs: Sequence[Job], stopping: asyncio.Event) -> None:
    """Run jobs until told to stop. One that is at it then may finish, within `_STOP_SECONDS`."""
    tasks = [asyncio.create_task(job.run(stopping)) for job in jobs]
    await stopping.wait()
    await asyncio.wait(tasks, timeout=_STOP_SECONDS)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def work(settings: Settings) -> None:
    """Be a worker until SIGTERM or SIGINT.

    Raises:
        StartupError: PostgreSQL does not answer, or the schema is behind.

    """
    async with AsyncExitStack() as stack:
        database = Database.from_settings(settings, application_name="worker")
        stack.push_async_callback(database.close)
        redis = open_redis(settings)
        stack.push_async_callback(redis.aclose)
        breaker = RedisCircuitBreaker(redis, budget=settings.REDIS_TIMEOUT)
        stack.push_async_callback(breaker.close)
        webhooks = await stack.enter_async_context(open_webhook_delivery(settings, database))
        todo = [
            *jobs(settings, database, StreamBuffer(breaker, redis).published_text),
            Job("deliver webhooks", 1.0, webhooks.deliver_some),
        ]
        if days := settings.RETENTION_SESSION_DAYS:
            retention = await stack.enter_async_context(open_session_retention(database, breaker, days=days))
            todo.append(Job("delete unused sessions", 600.0, retention.delete_some))
        await wait_for_schema(database)
        heartbeat = Heartbeat(database, service="worker", version=settings.VERSION)
        heartbeat.add_stats("database", database.pool_stats)
        heartbeat.add_stats("redis", breaker.stats)
        heartbeat.add_stats("webhooks", webhooks.figures)
        heartbeat.add_report(JobReporter(todo).write)
        stack.push_async_callback(heartbeat.close)
        # Until here there was nothing to finish: the signal itself ends the process.
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        logger.info("worker started")
        heartbeat.start()
        await run(todo, stopping)
    logger.info("worker stopped")


def _in_batches(database: Database, batch: Batch) -> Callable[[], Awaitable[int]]:
    async def work() -> int:
        done = 0
        while True:
            async with database.autocommit(max_seconds=_BATCH_SECONDS) as connection:
                count = await batch(connection, limit=_BATCH)
            done += count
            if count < _BATCH:
                return done

    return work
