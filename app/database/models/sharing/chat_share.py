"""Shared conversations."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, false
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class ChatShare(IdMixin, CreatedMixin, Base):
    """Snapshot of a branch of a session that everybody who has the link can read. At most one per session.

    The token of the link is derived from the public id and is not stored.
    """

    __tablename__ = "chat_shares"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id. A new link is a new id."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    session_id: Mapped[int] = mapped_column(ForeignKey("chat_sessions.id", ondelete="CASCADE"), unique=True)
    last_message_id: Mapped[int] = mapped_column(ForeignKey("chat_messages.id", ondelete="CASCADE"), index=True)
    """Last message of the branch. A message is deleted with all that follows it, so the deletion of any message of the
    branch deletes the share."""
    title: Mapped[str] = mapped_column(String(200))
    messages: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, deferred=True, deferred_raiseload=True)
    """Role, text, status, time and, if the owner chose it, model of each message, oldest first."""
    message_count: Mapped[int]
    includes_models: Mapped[bool] = mapped_column(server_default=false())
    expires_at: Mapped[datetime | None]
    """Null: the link does not expire."""

    __table_args__ = (
        CheckConstraint("message_count > 0", name="message_count"),
        Index("ix_chat_shares_user_id_uuid", "user_id", "uuid"),
        Index("ix_chat_shares_expires_at", "expires_at"),
    )
