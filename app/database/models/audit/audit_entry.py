"""Who did what."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, String, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class AuditEntry(IdMixin, CreatedMixin, Base):
    """One thing that somebody did, or was refused. A trigger and missing rights keep it from being changed.

    Without foreign keys, and without what erasure must remove: people are named by their public id.
    """

    __tablename__ = "audit_log"

    actor_id: Mapped[UUID | None]
    """Public id of the account that acted; null where nobody was logged in."""
    action: Mapped[str] = mapped_column(String(50))
    outcome: Mapped[str] = mapped_column(String(10))
    target_id: Mapped[UUID | None]
    """Public id of what it was done to: an account, a login, a key."""
    ip: Mapped[str | None] = mapped_column(INET)
    """Where the request came from, as the gateway saw it."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    """Finds the log lines of the request."""
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Of a change the values before and after, of a refusal the reason."""

    __table_args__ = (
        CheckConstraint("outcome IN ('done', 'refused')", name="outcome"),
        Index("ix_audit_log_created_at", "created_at"),
        Index("ix_audit_log_action_created_at", "action", "created_at"),
        Index("ix_audit_log_refused_created_at", "created_at", postgresql_where=text("outcome = 'refused'")),
        Index("ix_audit_log_actor_id_created_at", "actor_id", "created_at"),
        Index("ix_audit_log_target_id_created_at", "target_id", "created_at"),
    )
