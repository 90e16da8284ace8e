"""Audit log."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, String, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class AuditEntry(IdMixin, CreatedMixin, Base):
    """An action that was performed or refused. A trigger and revoked privileges make the table append-only.

    It has no foreign keys and no personal data that erasure must remove: accounts are referred to by public id.
    """

    __tablename__ = "audit_log"

    actor_id: Mapped[UUID | None]
    """Public id of the acting account; null: an unauthenticated caller, the command line or a worker.

    No foreign key: the entry remains when the account is erased.
    """
    action: Mapped[str] = mapped_column(String(50))
    """Such as `login.failed` or `user.updated`."""
    outcome: Mapped[str] = mapped_column(String(10))
    """`done` or `refused`."""
    target_id: Mapped[UUID | None]
    """Public id of the object of the action, such as an account, a login or an API key."""
    ip: Mapped[str | None] = mapped_column(INET)
    """Client address of the request, as the gateway reported it."""
    request_id: Mapped[str | None] = mapped_column(String(64))
    """Id of the request in the service logs."""
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Depends on the action, such as the old and new values of a change; no data that erasure must remove."""

    __table_args__ = (
        CheckConstraint("outcome IN ('done', 'refused')", name="outcome"),
        Index("ix_audit_log_created_at", "created_at"),
        Index("ix_audit_log_action_created_at", "action", "created_at"),
        Index("ix_audit_log_refused_created_at", "created_at", postgresql_where=text("outcome = 'refused'")),
        Index("ix_audit_log_actor_id_created_at", "actor_id", "created_at"),
        Index("ix_audit_log_target_id_created_at", "target_id", "created_at"),
    )
