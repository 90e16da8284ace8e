"""Outbox of emails."""

from datetime import datetime

from sqlalchemy import CheckConstraint, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class OutgoingMail(IdMixin, CreatedMixin, Base):
    """An email to send, inserted in the transaction that causes it, and deleted once the mail server has accepted it.

    Only kind and recipient are stored. Text and token are created when it is sent. Whether the address has an account
    is also looked up then, so that the duration of the request does not reveal it.
    """

    __tablename__ = "outgoing_mails"

    kind: Mapped[str] = mapped_column(String(30))
    recipient: Mapped[str] = mapped_column(String(254))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    """Also the end of the lease of the process that is sending it."""

    __table_args__ = (
        CheckConstraint(
            "kind IN ('verify_email', 'reset_password', 'already_registered', 'password_changed', 'invitation')",
            name="kind",
        ),
        CheckConstraint("attempts >= 0", name="attempts"),
    )
