"""Imports of conversations, and which sessions they stored."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin, TimestampMixin


class ChatImport(IdMixin, TimestampMixin, Base):
    """An import of a file. It holds no text of the file, and is deleted 30 days after its start."""

    __tablename__ = "chat_imports"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    """Account; deleted with it."""
    format: Mapped[str] = mapped_column(String(20))
    """`conversations` (an export of this service) or `chatgpt`."""
    status: Mapped[str] = mapped_column(String(20))
    """`running`, `complete`, `failed` (an error, or PostgreSQL was unavailable) or `interrupted` (the process stopped
    or was killed).
    """
    session_count: Mapped[int]
    """Number of sessions in the file."""
    done_count: Mapped[int] = mapped_column(server_default=text("0"))
    """Number of sessions that have been stored, found stored already, or left out."""
    report: Mapped[dict[str, Any] | None]
    """What was imported and what was left out. Null while the import runs, and if its process was killed."""
    lease_expires_at: Mapped[datetime | None]
    """End of the lease of the process that imports. Set exactly while the import runs."""

    __table_args__ = (
        CheckConstraint("format IN ('conversations', 'chatgpt')", name="format"),
        CheckConstraint("status IN ('running', 'complete', 'failed', 'interrupted')", name="status"),
        CheckConstraint("done_count BETWEEN 0 AND session_count", name="counts"),
        CheckConstraint("(status = 'running') = (lease_expires_at IS NOT NULL)", name="lease_while_running"),
        # At most one running import per account.
        Index("uq_chat_imports_user_id_running", "user_id", unique=True, postgresql_where=text("status = 'running'")),
        Index("ix_chat_imports_created_at", "created_at"),
    )


class ImportedSession(CreatedMixin, Base):
    """A session that was imported, so that importing the same conversation again does not store it twice."""

    __tablename__ = "imported_sessions"

    session_id: Mapped[int] = mapped_column(ForeignKey("chat_sessions.id", ondelete="CASCADE"), primary_key=True)
    """Deleting the session deletes the row: then the conversation can be imported again."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    """Account; deleted with it."""
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the conversation in the file: its time of creation, and the tree, texts, status and times of its
    messages. Title and other properties of the session do not count.
    """

    __table_args__ = (
        UniqueConstraint("user_id", "fingerprint"),
        CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint_is_sha256"),
    )
