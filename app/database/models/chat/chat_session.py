"""Conversations."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, IdMixin, TimestampMixin

PREVIEW_LENGTH = 100


class ChatSession(IdMixin, TimestampMixin, Base):
    """One conversation. Counters and preview are kept here so that lists never read the messages."""

    __tablename__ = "chat_sessions"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    """The owner: every read and write names it."""
    title: Mapped[str] = mapped_column(String(200))
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    """The context given at creation; each question may override it."""
    is_active: Mapped[bool] = mapped_column(server_default=true())
    """False: takes no questions and is not listed. Nothing sets it to false."""
    last_seq: Mapped[int] = mapped_column(server_default=text("0"))
    """`seq` of the newest message; its row lock gives out the numbers without gaps."""
    message_count: Mapped[int] = mapped_column(server_default=text("0"))
    last_message_preview: Mapped[str | None] = mapped_column(String(PREVIEW_LENGTH + 1))
    """The first characters of the newest message."""
    last_message_at: Mapped[datetime | None]
    summary: Mapped[str | None] = mapped_column(Text, deferred=True, deferred_raiseload=True)
    """What a model noted of the messages that are too old to go along with a question."""
    summary_upto_seq: Mapped[int] = mapped_column(server_default=text("0"))
    """`seq` of the last message that is in it."""
    summary_lease_expires_at: Mapped[datetime | None]
    """Until then somebody is at work on the summary, and nobody else begins."""

    __table_args__ = (
        CheckConstraint("message_count >= 0 AND last_seq >= message_count", name="counts"),
        CheckConstraint("summary_upto_seq BETWEEN 0 AND last_seq", name="summary_upto_seq"),
        Index("ix_chat_sessions_user_id_updated_at", "user_id", text("updated_at DESC"), text("id DESC")),
    )
