"""Mail that is on its way."""

from datetime import datetime

from sqlalchemy import CheckConstraint, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class OutgoingMail(IdMixin, CreatedMixin, Base):
    """A mail to send, written in the transaction that calls for it. The row goes when the mail server has taken it.

    Only kind and address are kept: text and token are made when it is sent. Whether the address has an account is
    found out then, too, so that the request that asked for a mail takes the same time either way.
    """

    __tablename__ = "outgoing_mails"

    kind: Mapped[str] = mapped_column(String(30))
    recipient: Mapped[str] = mapped_column(String(254))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    """Also the lease of the process that is sending it."""

    __table_args__ = (
        CheckConstraint(
            "kind IN ('verify_email', 'reset_password', 'already_registered', 'password_changed')",
            name="kind",
        ),
        CheckConstraint("attempts >= 0", name="attempts"),
    )
