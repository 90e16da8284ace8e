"""Counters against guessing."""

from datetime import datetime

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class AttemptCounter(Base):
    """How often something was tried in the current window.

    Here and not in Redis: a restart, or a Redis that was emptied, must not hand out new guesses.
    """

    __tablename__ = "login_throttles"

    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    """What is counted: an account, a name that somebody tried, a network address. Names and addresses are hashed."""
    attempts: Mapped[int]
    window_ends_at: Mapped[datetime] = mapped_column(index=True)
    """From then on the count starts again."""

    __table_args__ = (CheckConstraint("attempts >= 0", name="attempts"),)
