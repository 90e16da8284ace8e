"""Opens the resources of a worker and runs its jobs until it is told to stop."""

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack

from app.config import Settings
from app.core.background_tasks import stop_tasks
from app.database.connection import Database
from app.database.schema_version import wait_for_schema
from app.observability.metrics import Metrics, StateCollector
from app.services.heartbeat import Heartbeat
from app.services.redis.client import open_redis
from app.services.redis.keys import buffer_lifetime
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker
from app.services.redis.stream_buffer import StreamBuffer
from app.worker.jobs import build_jobs
from app.worker.metrics import JobCollector
from app.worker.periodic_job import Job, JobReporter
from app.worker.session_retention import open_session_retention
from app.worker.webhook_delivery import open_webhook_delivery

logger = logging.getLogger(__name__)

_STOP_TIMEOUT = 5.0
"""Timeout in seconds for running jobs when the worker stops."""


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
        buffer = StreamBuffer(breaker, redis, lifetime=buffer_lifetime(settings.max_streamed_seconds))
        jobs = [
            *build_jobs(settings, database, buffer.published_text),
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
        metrics = Metrics(service="worker", version=settings.VERSION)
        metrics.registry.register(StateCollector(heartbeat.read_state))
        metrics.registry.register(JobCollector(jobs))
        if port := settings.WORKER_METRICS_PORT:
            # Imported here: other workers need no HTTP framework.
            from app.worker.metrics_server import serving_metrics  # noqa: PLC0415

            await stack.enter_async_context(
                serving_metrics(metrics, stopping, host=settings.WORKER_METRICS_HOST, port=port)
            )
        logger.info("worker started")
        heartbeat.start()
        await run_jobs(jobs, stopping)
    logger.info("worker stopped")
