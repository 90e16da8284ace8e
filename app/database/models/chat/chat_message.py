"""Questions and answers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, IdMixin, TimestampMixin


class ChatMessage(IdMixin, TimestampMixin, Base):
    """One message. A question is stored `complete`; its answer is stored with it, `pending`, and settled once."""

    __tablename__ = "chat_messages"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id."""
    session_id: Mapped[int] = mapped_column(ForeignKey("chat_sessions.id", ondelete="CASCADE"))
    seq: Mapped[int]
    """Position in the session, from 1, without gaps."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("chat_messages.id", ondelete="CASCADE"), index=True)
    """The question that an answer answers."""
    role: Mapped[str] = mapped_column(String(20))
    content: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    """Of a question its context, of an answer how it came about: model, tokens, attempts, error code."""
    tokens_used: Mapped[int] = mapped_column(server_default=text("0"))
    """Prompt and completion tokens together, as the provider counted them."""
    processing_time_ms: Mapped[int] = mapped_column(server_default=text("0"))
    lease_expires_at: Mapped[datetime | None]
    """Until then the process that answers is taken to be alive. Set exactly while the answer is unsettled."""
    cancel_requested_at: Mapped[datetime | None]
    """When its owner asked to stop it."""

    __table_args__ = (
        UniqueConstraint("session_id", "seq"),
        CheckConstraint("seq > 0", name="seq"),
        CheckConstraint("role IN ('user', 'assistant')", name="role"),
        CheckConstraint(
            "status IN ('pending', 'streaming', 'complete', 'failed', 'cancelled', 'interrupted')", name="status"
        ),
        CheckConstraint(
            "(status IN ('pending', 'streaming')) = (lease_expires_at IS NOT NULL)", name="lease_while_unsettled"
        ),
        CheckConstraint("role = 'assistant' OR status = 'complete'", name="questions_are_complete"),
        # One active turn a session, whatever the services do.
        Index(
            "uq_chat_messages_session_id_active",
            "session_id",
            unique=True,
            postgresql_where=text("status IN ('pending', 'streaming')"),
        ),
    )
