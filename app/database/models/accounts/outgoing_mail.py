"""Outbox of emails."""

from datetime import datetime

from sqlalchemy import CheckConstraint, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.identity import MAX_CANONICAL_EMAIL_LENGTH
from app.database.base import Base, CreatedMixin, IdMixin


class OutgoingMail(IdMixin, CreatedMixin, Base):
    """An email to send. It is deleted once it is sent or given up.

    Only kind and recipient are stored. Text and token are created when it is sent. Whether the address has an account
    is also looked up then, so that the duration of the request does not reveal it.
    """

    __tablename__ = "outgoing_mails"

    kind: Mapped[str] = mapped_column(String(30))
    """Template: `verify_email`, `reset_password`, `already_registered`, `password_changed`, `invitation`."""
    recipient: Mapped[str] = mapped_column(String(254))
    """Email address. Whether it has an account is looked up when the email is sent, not when it is requested."""
    recipient_canonical: Mapped[str | None] = mapped_column(String(MAX_CANONICAL_EMAIL_LENGTH))
    """Canonical form of the address, by which the erasure of an account finds its emails."""
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    """Number of attempts."""
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    """Time of the next attempt; also the end of the lease of the process that is sending it."""

    __table_args__ = (
        CheckConstraint(
            "kind IN ('verify_email', 'reset_password', 'already_registered', 'password_changed', 'invitation')",
            name="kind",
        ),
        CheckConstraint("attempts >= 0", name="attempts"),
    )
