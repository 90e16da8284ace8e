"""Counters of the brute-force protection, and of other limits that a restart must not reset."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ColumnElement, Index, String, func, literal_column, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class AttemptCounter(Base):
    """Number of attempts in the current window.

    Stored in PostgreSQL rather than Redis, so that a restart or loss of Redis does not reset the limits.
    """

    __tablename__ = "login_throttles"

    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    """What is counted: attempts at an account, with an entered login name (hashed), and from a network address.

    Also confirmations of a password, per login; emails, per recipient (hashed) and kind, and per requesting network;
    and refused operations of an account.
    """
    attempts: Mapped[int]
    """Attempts in the current window."""
    window_ends_at: Mapped[datetime] = mapped_column(index=True)
    """End of the window, after which counting starts again; the worker deletes the row a day later."""

    __table_args__ = (
        CheckConstraint("attempts >= 0", name="attempts"),
        Index("ix_login_throttles_key_without_network", text("split_part(key, '@', 1)")),
    )


KEY_WITHOUT_NETWORK: ColumnElement[str] = func.split_part(
    AttemptCounter.key, literal_column("'@'"), literal_column("1"), type_=String
)
"""What is counted, from whichever network or login: the part of the key before the first `@`."""
