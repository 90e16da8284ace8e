"""Conversation summaries."""

from sqlalchemy import CheckConstraint, ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin


class ChatSummary(CreatedMixin, Base):
    """Summary of the messages from the beginning of a conversation to one message of it.

    It is used for every branch that contains the message, and for no other. Deleting the message deletes it.
    """

    __tablename__ = "chat_summaries"

    message_id: Mapped[int] = mapped_column(ForeignKey("chat_messages.id", ondelete="CASCADE"), primary_key=True)
    """The last message that it covers; deleted with it."""
    session_id: Mapped[int] = mapped_column(ForeignKey("chat_sessions.id", ondelete="CASCADE"), index=True)
    """Its session; deleted with it."""
    depth: Mapped[int]
    """`depth` of the message."""
    content: Mapped[str] = mapped_column(Text)
    """The summary; empty if there was nothing to summarize."""

    __table_args__ = (CheckConstraint("depth > 0", name="depth"),)
