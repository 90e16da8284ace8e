"""Counters of the brute-force protection."""

from datetime import datetime

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class AttemptCounter(Base):
    """Number of attempts in the current window.

    Stored in PostgreSQL rather than Redis, so that a restart or loss of Redis does not reset the limits.
    """

    __tablename__ = "login_throttles"

    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    """What is counted: an account, a login name or a network address. Names and addresses are hashed."""
    attempts: Mapped[int]
    window_ends_at: Mapped[datetime] = mapped_column(index=True)
    """End of the window, after which counting starts again."""

    __table_args__ = (CheckConstraint("attempts >= 0", name="attempts"),)
