"""Imports: their state and their leases."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    Integer,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import ChatImport
from app.database.repositories.operations import batch_deletion
from app.database.statements import StatementRefusedError

ImportFormat = Literal["conversations", "chatgpt"]
ImportStatus = Literal["running", "complete", "failed", "interrupted"]

LEASE = timedelta(seconds=60)
"""Time without progress after which an import is taken for interrupted. One session takes a few seconds."""
RETENTION = timedelta(days=30)
"""How long the report of an import is stored."""


@dataclass(frozen=True, slots=True)
class StoredImport:
    """An import as it is stored."""

    uuid: UUID
    format: ImportFormat
    status: ImportStatus
    session_count: int
    done_count: int
    report: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


class ImportRunningError(StatementRefusedError):
    """Another import of the user is running."""

    def __init__(self, import_uuid: UUID | None) -> None:
        """Take its public id. None: it has ended since."""
        super().__init__()
        self.import_uuid = import_uuid


# A literal instead of a parameter, so that PostgreSQL can use the partial index.
_IS_RUNNING = ChatImport.status == literal_column("'running'")
_HAS_EXPIRED = and_(_IS_RUNNING, ChatImport.lease_expires_at < func.now())


def _interrupt() -> Update:
    return (
        update(ChatImport)
        .where(_HAS_EXPIRED)
        .values(status="interrupted", lease_expires_at=null(), updated_at=func.now())
    )


async def start(
    connection: AsyncConnection, *, user_id: int, import_uuid: UUID, file_format: ImportFormat, session_count: int
) -> None:
    """Store a running import. An earlier one of the user whose lease has expired is marked as interrupted.

    Raises:
        ImportRunningError: another import of the user is running.

    """
    await connection.execute(_interrupt().where(ChatImport.user_id == user_id))
    started = await connection.scalar(
        insert(ChatImport)
        .values(
            uuid=import_uuid,
            user_id=user_id,
            format=file_format,
            status="running",
            session_count=session_count,
            lease_expires_at=func.now() + LEASE,
        )
        .on_conflict_do_nothing(index_elements=[ChatImport.user_id], index_where=_IS_RUNNING)
        .returning(ChatImport.id)
    )
    if started is None:
        running = select(ChatImport.uuid).where(ChatImport.user_id == user_id, _IS_RUNNING)
        raise ImportRunningError(await connection.scalar(running))


async def report_progress(connection: AsyncConnection, import_uuid: UUID, *, done_count: int) -> None:
    """Store how many sessions are done, and renew the lease."""
    await connection.execute(
        update(ChatImport)
        .where(ChatImport.uuid == import_uuid, _IS_RUNNING)
        .values(done_count=done_count, lease_expires_at=func.now() + LEASE, updated_at=func.now())
    )


async def finish(
    connection: AsyncConnection,
    import_uuid: UUID,
    *,
    status: ImportStatus,
    done_count: int,
    report: Mapping[str, Any],
) -> None:
    """Store the end of a running import, with its report. An import that was marked as interrupted stays so."""
    await connection.execute(
        update(ChatImport)
        .where(ChatImport.uuid == import_uuid, _IS_RUNNING)
        .values(
            status=status,
            done_count=done_count,
            report=dict(report),
            lease_expires_at=null(),
            updated_at=func.now(),
        )
    )


async def find(connection: AsyncConnection, *, user_id: int, import_uuid: UUID) -> StoredImport | None:
    """Return an import of the user. None: there is none. One whose lease has expired is returned as interrupted."""
    row = (
        await connection.execute(
            select(
                ChatImport.uuid,
                ChatImport.format,
                case((_HAS_EXPIRED, "interrupted"), else_=ChatImport.status),
                ChatImport.session_count,
                ChatImport.done_count,
                ChatImport.report,
                ChatImport.created_at,
                ChatImport.updated_at,
            ).where(ChatImport.user_id == user_id, ChatImport.uuid == import_uuid)
        )
    ).one_or_none()
    return StoredImport(*row) if row else None


_EXPIRED = (
    select(ChatImport.id)
    .where(_HAS_EXPIRED)
    .limit(bindparam("p_limit", type_=Integer))
    .with_for_update(skip_locked=True)
)
_INTERRUPT_EXPIRED = _interrupt().where(ChatImport.id.in_(_EXPIRED)).returning(ChatImport.id)
_PURGE = batch_deletion.delete_statement(ChatImport.id, ChatImport.created_at <= func.now() - RETENTION)


async def interrupt_expired(connection: AsyncConnection, *, limit: int) -> int:
    """Mark up to `limit` imports whose lease has expired as interrupted, and return their number."""
    return len((await connection.scalars(_INTERRUPT_EXPIRED, {"p_limit": limit})).all())


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete up to `limit` imports that are older than `RETENTION`, and return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
