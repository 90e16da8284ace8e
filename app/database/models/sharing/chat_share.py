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
    """Public id, from which the token of the link is derived; a new link is a new id."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    """Owner; the share is deleted with the account."""
    session_id: Mapped[int] = mapped_column(ForeignKey("chat_sessions.id", ondelete="CASCADE"), unique=True)
    """Shared session; the share is deleted with it."""
    last_message_id: Mapped[int] = mapped_column(ForeignKey("chat_messages.id", ondelete="CASCADE"), index=True)
    """Last message of the branch. A message is deleted with all that follows it, so the deletion of any message of the
    branch deletes the share."""
    title: Mapped[str] = mapped_column(String(200))
    """Title that readers see."""
    messages: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, deferred=True, deferred_raiseload=True)
    """List of objects with `role`, `content`, `status`, `timestamp` and `model` (null unless the owner chose to show
    it), oldest first.
    """
    message_count: Mapped[int]
    """Number of messages."""
    includes_models: Mapped[bool] = mapped_column(server_default=false())
    """Whether readers see the models."""
    expires_at: Mapped[datetime | None]
    """Time from which the link does not work; a worker then deletes the row. Null: it does not expire."""

    __table_args__ = (
        CheckConstraint("message_count > 0", name="message_count"),
        Index("ix_chat_shares_user_id_uuid", "user_id", "uuid"),
        Index("ix_chat_shares_expires_at", "expires_at"),
    )
