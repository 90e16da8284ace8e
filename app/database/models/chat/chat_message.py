"""Chat messages: questions and answers, which form a tree."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    FetchedValue,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, IdMixin, TimestampMixin


class ChatMessage(IdMixin, TimestampMixin, Base):
    """A message. An answer is inserted as `pending`, with its question or as another one, and completed once."""

    __tablename__ = "chat_messages"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id; of an answer also the `turn_id` in the ledger."""
    session_id: Mapped[int] = mapped_column(ForeignKey("chat_sessions.id", ondelete="CASCADE"))
    """Session; deleted with it."""
    seq: Mapped[int]
    """Order of creation in the session, starting at 1. Deleted messages leave gaps."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("chat_messages.id", ondelete="CASCADE"), index=True)
    """For an answer, its question; for a question, the message that it follows. Null: it begins the conversation.

    Messages with the same parent and role are siblings: versions of a question, or of an answer.
    """
    depth: Mapped[int] = mapped_column(server_default=FetchedValue())
    """Number of messages from the first one to this one. A trigger sets it, with `jump_id` and `jump_depth`."""
    jump_id: Mapped[int | None] = mapped_column(BigInteger, server_default=FetchedValue())
    """An ancestor further up, so that any ancestor is found in O(log depth) steps. Null: none above `jump_depth` 0.

    It needs no foreign key: a message is deleted with everything below it, so its ancestors outlive it.
    """
    jump_depth: Mapped[int] = mapped_column(server_default=FetchedValue())
    """`depth` of that ancestor; 0: there is none."""
    role: Mapped[str] = mapped_column(String(20))
    """`user` or `assistant`."""
    content: Mapped[str] = mapped_column(Text)
    """Text; empty while an answer is pending."""
    status: Mapped[str] = mapped_column(String(20))
    """State of the answer; a question is always `complete`."""
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    """Of a question its `context`; of an answer how it was generated: model, tokens, attempts, error code."""
    tokens_used: Mapped[int] = mapped_column(server_default=text("0"))
    """Prompt and completion tokens of all attempts, as in the ledger: reported by the provider or estimated."""
    processing_time_ms: Mapped[int] = mapped_column(server_default=text("0"))
    """Of an answer, milliseconds of all attempts and the waits before them; 0 of a question, and if the process of the
    answer was killed.
    """
    lease_expires_at: Mapped[datetime | None]
    """End of the lease that the process of the answer renews; set exactly while the answer is active (pending or
    streaming).
    """
    cancel_requested_at: Mapped[datetime | None]
    """Time of the cancellation request; the process of the answer checks it once a second."""

    __table_args__ = (
        UniqueConstraint("session_id", "seq"),
        CheckConstraint("seq > 0", name="seq"),
        CheckConstraint("depth > jump_depth AND (depth = 1) = (parent_id IS NULL)", name="tree"),
        CheckConstraint("role IN ('user', 'assistant')", name="role"),
        CheckConstraint(
            "status IN ('pending', 'streaming', 'complete', 'failed', 'cancelled', 'interrupted')", name="status"
        ),
        CheckConstraint(
            "(status IN ('pending', 'streaming')) = (lease_expires_at IS NOT NULL)", name="lease_while_unsettled"
        ),
        CheckConstraint("role = 'assistant' OR status = 'complete'", name="questions_are_complete"),
        Index("ix_chat_messages_session_id_first", "session_id", postgresql_where=text("parent_id IS NULL")),
        # At most one active turn per session.
        Index(
            "uq_chat_messages_session_id_active",
            "session_id",
            unique=True,
            postgresql_where=text("status IN ('pending', 'streaming')"),
        ),
    )
