"""Addresses that are told what happens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, String, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, IdMixin, TimestampMixin


class WebhookEndpoint(IdMixin, TimestampMixin, Base):
    """A receiver of events. Its secret is stored nowhere: `uuid` and `secret_generation` are what it is made from."""

    __tablename__ = "webhook_endpoints"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id."""
    url: Mapped[str] = mapped_column(String(2048))
    """May hold a secret of the receiver's, so it is in no log."""
    description: Mapped[str | None] = mapped_column(String(200))
    events: Mapped[list[str]] = mapped_column(ARRAY(String(50)))
    """The types it is told of; `*`: all of them."""
    is_enabled: Mapped[bool] = mapped_column(server_default=true())
    """False: nothing is written for it, and what was waits."""
    disabled_reason: Mapped[str | None] = mapped_column(String(50))
    """Why the worker has disabled it; null: it has not."""
    uses_shared_secret: Mapped[bool] = mapped_column(server_default=false())
    """True: `WEBHOOK_SECRET` signs, not a secret of its own."""
    secret_generation: Mapped[int] = mapped_column(server_default=text("1"))
    """Counted up when the secret is rotated."""
    previous_secret_until: Mapped[datetime | None]
    """Until then the secret of the generation before signs too."""
    failing_since: Mapped[datetime | None]
    """The first attempt that failed since the last one that did not."""

    __table_args__ = (
        CheckConstraint("cardinality(events) > 0", name="events"),
        CheckConstraint("secret_generation > 0", name="secret_generation"),
        CheckConstraint("disabled_reason IS NULL OR NOT is_enabled", name="reason_of_disabling"),
    )
