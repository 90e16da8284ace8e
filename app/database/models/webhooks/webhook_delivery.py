"""What endpoints are to be told, and were."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class WebhookDelivery(IdMixin, CreatedMixin, Base):
    """One event for one endpoint, written in the transaction of what has happened, if somebody wants to know.

    `data` holds ids and figures, and neither text nor addresses nor names.
    """

    __tablename__ = "webhook_deliveries"

    event_id: Mapped[UUID]
    """Public id, the same for all endpoints: receivers tell by it what they have seen before."""
    endpoint_id: Mapped[int] = mapped_column(BigInteger)
    """Without a foreign key: every turn would lock the endpoint's row, and wait while an admin deletes it."""
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    """The account that `data` is about, with which it goes."""
    type: Mapped[str] = mapped_column(String(50))
    data: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(20), server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    earlier_attempts: Mapped[int] = mapped_column(server_default=text("0"))
    """Those of them that were made before somebody asked for another delivery."""
    next_attempt_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    """Also the lease of the process that is delivering it; null: it is settled."""
    response_status: Mapped[int | None]
    """Of the last attempt; null: there was no answer."""
    error_code: Mapped[str | None] = mapped_column(String(50))
    """Of the last attempt; null: it has not failed."""
    log: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB, server_default=text("'[]'"), deferred=True, deferred_raiseload=True
    )
    """The last attempts, oldest first: what was sent and what came back, without bodies and signatures."""

    __table_args__ = (
        CheckConstraint("status IN ('pending', 'delivered', 'failed')", name="status"),
        CheckConstraint("(status = 'pending') = (next_attempt_at IS NOT NULL)", name="pending_is_due"),
        CheckConstraint("earlier_attempts BETWEEN 0 AND attempts", name="attempts"),
        UniqueConstraint("endpoint_id", "event_id"),
        Index(
            "ix_webhook_deliveries_pending",
            "endpoint_id",
            "next_attempt_at",
            postgresql_where=text("status = 'pending'"),
        ),
        Index("ix_webhook_deliveries_endpoint_id_id", "endpoint_id", "id"),
        Index("ix_webhook_deliveries_failed", "endpoint_id", "id", postgresql_where=text("status = 'failed'")),
        Index("ix_webhook_deliveries_created_at", "created_at"),
    )
