"""Registry of running service processes, updated by their heartbeats."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, func
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Interval

from app.database.models import ServiceInstance
from app.database.repositories.operations import batch_deletion


@dataclass(frozen=True, slots=True)
class Instance:
    """Identity of a process."""

    id: UUID
    service: str
    version: str
    host: str
    pid: int


_new = insert(ServiceInstance).values(
    id=bindparam("p_id"),
    service=bindparam("p_service"),
    version=bindparam("p_version"),
    host=bindparam("p_host"),
    pid=bindparam("p_pid"),
    # The age is sent instead of a time, because the clocks of machines differ.
    started_at=func.now() - bindparam("p_age", type_=Interval),
    seen_at=func.now(),
    state=bindparam("p_state", type_=JSONB),
)
_HEARTBEAT = _new.on_conflict_do_update(
    index_elements=[ServiceInstance.id], set_={"seen_at": _new.excluded.seen_at, "state": _new.excluded.state}
)

_MAX_SILENCE = timedelta(days=1)
"""Time without a heartbeat after which a process that ended without removing its row is purged."""
_PURGE = batch_deletion.delete_statement(ServiceInstance.id, ServiceInstance.seen_at <= func.now() - _MAX_SILENCE)


async def record_heartbeat(
    connection: AsyncConnection, instance: Instance, *, age: timedelta, state: Mapping[str, Any]
) -> None:
    """Store a heartbeat of a process that started `age` ago, with its statistics."""
    await connection.execute(
        _HEARTBEAT,
        {
            "p_id": instance.id,
            "p_service": instance.service,
            "p_version": instance.version,
            "p_host": instance.host,
            "p_pid": instance.pid,
            "p_age": age,
            "p_state": dict(state),
        },
    )


async def remove(connection: AsyncConnection, instance_id: UUID) -> None:
    """Delete the row of a process that shuts down."""
    await connection.execute(delete(ServiceInstance).where(ServiceInstance.id == instance_id))


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete at most `limit` processes without a recent heartbeat; return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
