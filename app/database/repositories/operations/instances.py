"""The processes of the system, as each tells of itself."""

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
    """Who a process is."""

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
    # Ages and not times: clocks differ from machine to machine.
    started_at=func.now() - bindparam("p_age", type_=Interval),
    seen_at=func.now(),
    state=bindparam("p_state", type_=JSONB),
)
_BEAT = _new.on_conflict_do_update(
    index_elements=[ServiceInstance.id], set_={"seen_at": _new.excluded.seen_at, "state": _new.excluded.state}
)

_KEPT = timedelta(days=1)
"""How long a process that ended without a word is remembered."""
_PURGE = batch_deletion.delete_statement(ServiceInstance.id, ServiceInstance.seen_at <= func.now() - _KEPT)


async def record_heartbeat(
    connection: AsyncConnection, instance: Instance, *, age: timedelta, state: Mapping[str, Any]
) -> None:
    """Note that a process that began `age` ago is there, and its figures."""
    await connection.execute(
        _BEAT,
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
    """Note that a process has ended in good order."""
    await connection.execute(delete(ServiceInstance).where(ServiceInstance.id == instance_id))


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Forget processes that have not been seen for long, `limit` at most, and say how many."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
