"""Feedback of owners on answers of their sessions."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, TimestampMixin


class MessageFeedback(TimestampMixin, Base):
    """Rating of an answer by the owner of its session, with reasons and a comment. At most one per answer."""

    __tablename__ = "message_feedback"

    message_id: Mapped[int] = mapped_column(
        ForeignKey("chat_messages.id", ondelete="CASCADE"), primary_key=True, autoincrement=False, sort_order=-2
    )
    """The answer; primary key."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), sort_order=-1)
    """Owner of the session."""
    model: Mapped[str] = mapped_column(String(200))
    """Requested model of the last attempt at the answer, from the ledger, because metadata of a message may come from a
    client. Empty: not known, as for a copied answer.
    """
    rating: Mapped[str] = mapped_column(String(10))
    """`up` or `down`."""
    reasons: Mapped[list[str]] = mapped_column(ARRAY(String(50)), server_default=text("'{}'"))
    """Codes such as `inaccurate`, sorted, without duplicates. The API knows the codes."""
    comment: Mapped[str | None] = mapped_column(Text)
    """Text of the user, or null."""

    __table_args__ = (
        CheckConstraint("rating IN ('up', 'down')", name="rating"),
        Index("ix_message_feedback_user_id_message_id", "user_id", "message_id"),
    )
