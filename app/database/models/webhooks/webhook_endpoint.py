"""Webhook endpoints."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, String, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, IdMixin, TimestampMixin


class WebhookEndpoint(IdMixin, TimestampMixin, Base):
    """A receiver of events. Its secret is not stored, but derived from `uuid` and `secret_generation`."""

    __tablename__ = "webhook_endpoints"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id; also an input of the derived secret."""
    url: Mapped[str] = mapped_column(String(2048))
    """Address for events. It may contain a secret of the receiver, so it is not logged."""
    description: Mapped[str | None] = mapped_column(String(200))
    """Optional, for admins."""
    events: Mapped[list[str]] = mapped_column(ARRAY(String(50)))
    """Subscribed event types. `*` subscribes to all."""
    is_enabled: Mapped[bool] = mapped_column(server_default=true())
    """False: no new deliveries are inserted, and pending ones wait."""
    disabled_reason: Mapped[str | None] = mapped_column(String(50))
    """Why the worker has disabled the endpoint. Null: the worker has not disabled it."""
    uses_shared_secret: Mapped[bool] = mapped_column(server_default=false())
    """True: requests are signed with `WEBHOOK_SECRET` instead of a secret of the endpoint."""
    secret_generation: Mapped[int] = mapped_column(server_default=text("1"))
    """Incremented when the secret is rotated."""
    previous_secret_until: Mapped[datetime | None]
    """Until when requests are also signed with the previous secret; null: it was never rotated."""
    earlier_secrets_until: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    """Of secrets before the previous one that were still valid at the last rotation: until when requests are also
    signed with each, by its number.
    """
    failing_since: Mapped[datetime | None]
    """Time of the first failed attempt since the last successful one.

    Null: the last attempt succeeded, or there was none since the endpoint was created, enabled again or got another
    URL.
    """

    __table_args__ = (
        CheckConstraint("cardinality(events) > 0", name="events"),
        CheckConstraint("secret_generation > 0", name="secret_generation"),
        CheckConstraint("disabled_reason IS NULL OR NOT is_enabled", name="reason_of_disabling"),
    )
