"""How the system does: what its processes tell of themselves, and what waits."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from app.admin.schemas.system import (
    DatabaseState,
    InstanceState,
    JobState,
    MigrationState,
    QueueState,
    RedisState,
    SystemState,
)
from app.database import migrations
from app.database.connection import REQUEST_TIMEOUT, DatabaseSession
from app.database.models import ServiceInstance, WorkerJob
from app.database.repositories.operations import system
from app.http.dependencies import Resources
from app.services import heartbeat
from app.services.redis.circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

_HEARTBEAT_TIMEOUT = timedelta(seconds=3 * heartbeat.HEARTBEAT_INTERVAL + 5)
"""After so long without a heartbeat something is wrong with a process."""
_MISSED_RUNS = 3
"""After so many a job is overdue. What workers report is a heartbeat old besides."""


async def get_system_state(resources: Resources) -> SystemState:
    """Look at everything, in the time that PostgreSQL and Redis may take for one request.

    Raises:
        DatabaseUnavailableError: PostgreSQL is away or too slow.

    """
    stored, redis = await asyncio.gather(_stored(resources), _redis(resources.breaker))
    return SystemState(**stored, redis=redis)


async def _stored(resources: Resources) -> dict[str, Any]:
    async with resources.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
        server = await system.read_server(session)
        return {
            "generated_at": server.now,
            "version": resources.settings.VERSION,
            "migrations": await _migrations(session),
            "database": DatabaseState.model_validate(server),
            "instances": [_instance(*row) for row in await system.list_instances(session, silence=_HEARTBEAT_TIMEOUT)],
            "queues": {queue.name: QueueState.model_validate(queue) for queue in await system.read_queues(session)},
            "jobs": [_job(job, server.now) for job in await system.list_jobs(session)],
        }


async def _migrations(session: DatabaseSession) -> MigrationState:
    needed, applied = migrations.needed_revision(), await system.applied_migration(session)
    return MigrationState(needed=needed, applied=applied, is_current=applied == needed)


async def _redis(breaker: RedisCircuitBreaker) -> RedisState:
    try:
        async with breaker.guard() as redis:
            info = await redis.info()
    except RedisUnavailableError:
        return RedisState(status="down")
    return RedisState(
        status="up",
        version=info.get("redis_version"),
        used_memory_bytes=info.get("used_memory"),
        clients=info.get("connected_clients"),
    )


def _instance(stored: ServiceInstance, is_lost: bool) -> InstanceState:  # noqa: FBT001 - a row
    return InstanceState.model_validate(
        {
            "instance_id": stored.id,
            "service": stored.service,
            "version": stored.version,
            "host": stored.host,
            "pid": stored.pid,
            "status": "lost" if is_lost else "up",
            "started_at": stored.started_at,
            "seen_at": stored.seen_at,
            "state": stored.state,
        }
    )


def _job(stored: WorkerJob, now: datetime) -> JobState:
    status = "healthy"
    if (
        stored.started_at is None
        or stored.started_at < now - _MISSED_RUNS * timedelta(seconds=stored.interval_seconds) - _HEARTBEAT_TIMEOUT
    ):
        status = "overdue"
    elif stored.failed_at is not None and (stored.finished_at is None or stored.finished_at < stored.failed_at):
        status = "failing"
    fields = {name: getattr(stored, name) for name in JobState.model_fields if name != "status"}
    return JobState.model_validate(fields | {"status": status})
