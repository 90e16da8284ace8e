"""Webhook deliveries."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class WebhookDelivery(IdMixin, CreatedMixin, Base):
    """One event for one endpoint, inserted in the transaction that causes the event, except `quota.exceeded`.

    `data` contains ids, states and numbers, but no message text, email addresses or names.
    """

    __tablename__ = "webhook_deliveries"

    event_id: Mapped[UUID]
    """Public id of the event, the same for all endpoints. Receivers use it to detect duplicates."""
    endpoint_id: Mapped[int] = mapped_column(BigInteger)
    """No foreign key: it would lock the row of the endpoint in every turn, and make turns wait for its deletion."""
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    """Account that the event is about; deleted with it. Null: no account, or one that has been erased."""
    type: Mapped[str] = mapped_column(String(50))
    """Event type."""
    data: Mapped[dict[str, Any]]
    """Data of the event: ids, states and numbers, but no message text, email addresses or names."""
    status: Mapped[str] = mapped_column(String(20), server_default="pending")
    """`pending`, `delivered`, or `failed` after the last attempt."""
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    """Number of attempts; also distinguishes successive claims."""
    earlier_attempts: Mapped[int] = mapped_column(server_default=text("0"))
    """Number of attempts before an admin last requested a redelivery, which starts the back-off again; included in
    `attempts`.
    """
    next_attempt_at: Mapped[datetime | None] = mapped_column(server_default=func.now())
    """Also the end of the lease of the process that is delivering it. Null: delivered or failed."""
    response_status: Mapped[int | None]
    """HTTP status of the last completed attempt. Null: there was no response, or no such attempt."""
    error_code: Mapped[str | None] = mapped_column(String(50))
    """Error of the last completed attempt. Null: it succeeded, or there was none yet."""
    log: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB, server_default=text("'[]'"), deferred=True, deferred_raiseload=True
    )
    """Requests and responses of the last attempts, oldest first, without bodies and signatures."""

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
