"""System status: processes, migrations, PostgreSQL, Redis, queues and worker jobs."""

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
from app.database.connection import REQUEST_TIMEOUT, DatabaseSession
from app.database.models import ServiceInstance, WorkerJob
from app.database.repositories.operations import system
from app.database.schema_version import needed_revision
from app.http.dependencies import Resources
from app.services import heartbeat
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker, RedisUnavailableError

_HEARTBEAT_TIMEOUT = timedelta(seconds=3 * heartbeat.HEARTBEAT_INTERVAL + 5)
"""Time without a heartbeat after which a process is reported as lost."""
_MAX_MISSED_RUNS = 3
"""Number of missed runs after which a job is overdue. Reports may be older by one heartbeat."""


async def get_system_state(resources: Resources) -> SystemState:
    """Return the status of the system. PostgreSQL and Redis are read within the timeouts of a request.

    Raises:
        DatabaseUnavailableError: PostgreSQL is unavailable or too slow.

    """
    database, redis = await asyncio.gather(_database_state(resources), _redis_state(resources.breaker))
    return SystemState(**database, redis=redis)


async def _database_state(resources: Resources) -> dict[str, Any]:
    async with resources.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
        server = await system.read_server(session)
        return {
            "generated_at": server.now,
            "version": resources.settings.VERSION,
            "migrations": await _migration_state(session),
            "database": DatabaseState.model_validate(server),
            "instances": [
                _instance_state(*row) for row in await system.list_instances(session, silence=_HEARTBEAT_TIMEOUT)
            ],
            "queues": {queue.name: QueueState.model_validate(queue) for queue in await system.read_queues(session)},
            "jobs": [_job_state(job, server.now) for job in await system.list_jobs(session)],
        }


async def _migration_state(session: DatabaseSession) -> MigrationState:
    needed, applied = needed_revision(), await system.applied_migration(session)
    return MigrationState(needed=needed, applied=applied, is_current=applied == needed)


async def _redis_state(breaker: RedisCircuitBreaker) -> RedisState:
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


def _instance_state(stored: ServiceInstance, is_lost: bool) -> InstanceState:  # noqa: FBT001 - columns of a row
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


def _job_state(stored: WorkerJob, now: datetime) -> JobState:
    status = "healthy"
    if (
        stored.started_at is None
        or stored.started_at < now - _MAX_MISSED_RUNS * timedelta(seconds=stored.interval_seconds) - _HEARTBEAT_TIMEOUT
    ):
        status = "overdue"
    elif stored.failed_at is not None and (stored.finished_at is None or stored.finished_at < stored.failed_at):
        status = "failing"
    fields = {name: getattr(stored, name) for name in JobState.model_fields if name != "status"}
    return JobState.model_validate(fields | {"status": status})
