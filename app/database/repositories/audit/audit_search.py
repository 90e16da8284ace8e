"""Search in the audit log."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Select, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import AuditEntry
from app.database.repositories.audit.audit_log import AuditAction, AuditOutcome

_COLUMNS = (
    AuditEntry.id,
    AuditEntry.created_at,
    AuditEntry.action,
    AuditEntry.outcome,
    AuditEntry.actor_id,
    AuditEntry.target_id,
    func.host(AuditEntry.ip),
    AuditEntry.request_id,
    AuditEntry.details,
)


class EntryPosition(NamedTuple):
    """Position of an entry in the order of the log. Entries of one transaction have the same `created_at`."""

    created_at: datetime
    id: int


@dataclass(frozen=True, slots=True)
class AuditCriteria:
    """Search criteria. None: no restriction."""

    actor: UUID | None = None
    action: AuditAction | None = None
    target: UUID | None = None
    outcome: AuditOutcome | None = None
    start: datetime | None = None
    end: datetime | None = None
    """Exclusive; `start` is inclusive."""


class StoredAuditEntry(NamedTuple):
    """An entry; the fields are those of `AuditEntry`."""

    id: int
    created_at: datetime
    action: str
    outcome: str
    actor_id: UUID | None
    target_id: UUID | None
    ip: str | None
    request_id: str | None
    details: dict[str, Any]

    @property
    def position(self) -> EntryPosition:
        """Position of the entry, from which a search can continue."""
        return EntryPosition(self.created_at, self.id)


async def find(
    connection: AsyncConnection | AsyncSession, criteria: AuditCriteria, *, after: EntryPosition | None, limit: int
) -> Sequence[StoredAuditEntry]:
    """Return up to `limit` entries, newest first, that follow the position `after`."""
    statement = _select(criteria).order_by(AuditEntry.created_at.desc(), AuditEntry.id.desc()).limit(limit)
    if after is not None:
        position = tuple_(literal(after.created_at, DateTime(timezone=True)), literal(after.id, BigInteger))
        statement = statement.where(tuple_(AuditEntry.created_at, AuditEntry.id) < position)
    return [StoredAuditEntry(*row) for row in await connection.execute(statement)]


def _select(criteria: AuditCriteria) -> Select[*tuple[Any, ...]]:
    statement = select(*_COLUMNS)
    for column, value in (
        (AuditEntry.actor_id, criteria.actor),
        (AuditEntry.action, criteria.action),
        (AuditEntry.target_id, criteria.target),
        (AuditEntry.outcome, criteria.outcome),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if criteria.start is not None:
        statement = statement.where(AuditEntry.created_at >= criteria.start)
    if criteria.end is not None:
        statement = statement.where(AuditEntry.created_at < criteria.end)
    return statement
