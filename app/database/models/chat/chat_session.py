"""Chat sessions."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, String, Text, false, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, IdMixin, TimestampMixin

TitleSource = Literal["default", "question", "model", "user"]
"""Who wrote the title of a session: nobody yet, its first question, a model, or the user, whose title stays."""

DEFAULT_TITLE = "New Chat"
"""Title of a session without a question."""
PREVIEW_LENGTH = 100
"""Number of characters of the newest message that lists show, without the ellipsis."""
MAX_TAGS = 20
"""Maximum number of tags of a session."""
MAX_TAG_LENGTH = 50
"""Maximum length of a tag in characters."""


class ChatSession(IdMixin, TimestampMixin, Base):
    """A conversation. Message counter and preview are stored here, so that lists do not read the messages."""

    __tablename__ = "chat_sessions"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    """The owner. Every query of the chat service is restricted to it."""
    title: Mapped[str] = mapped_column(String(200))
    title_source: Mapped[TitleSource] = mapped_column(String(20), server_default="user")
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    """Context of every question in the session. The context of a question overrides it."""
    model: Mapped[str | None] = mapped_column(String(200))
    """Model of questions that name none. Null, or a model that is no longer allowed: the default of the settings."""
    is_active: Mapped[bool] = mapped_column(server_default=true())
    """False: the session is archived. It accepts no questions, and only lists of archived sessions contain it."""
    is_pinned: Mapped[bool] = mapped_column(server_default=false())
    tags: Mapped[list[str]] = mapped_column(ARRAY(String(MAX_TAG_LENGTH)), server_default=text("'{}'"))
    """Labels that the owner has given, normalized and without duplicates."""
    last_seq: Mapped[int] = mapped_column(server_default=text("0"))
    """Highest `seq` that was given to a message. The lock of the row serializes numbering."""
    active_seq: Mapped[int | None]
    """`seq` of the last message of the active branch: the one that a reader sees and the model is sent.

    Null: the newest message. 0: there are no messages.
    """
    message_count: Mapped[int] = mapped_column(server_default=text("0"))
    last_message_preview: Mapped[str | None] = mapped_column(String(PREVIEW_LENGTH + 1))
    """First characters of the last message of the active branch."""
    last_message_at: Mapped[datetime | None]
    # Unused since revision 0017, which moved summaries to a table of their own. The previous release writes them.
    summary: Mapped[str | None] = mapped_column(Text, deferred=True, deferred_raiseload=True)
    summary_upto_seq: Mapped[int] = mapped_column(server_default=text("0"))
    summary_lease_expires_at: Mapped[datetime | None]
    """End of the lease of the process that is summarizing a branch of the session."""

    __table_args__ = (
        CheckConstraint("message_count >= 0 AND last_seq >= message_count", name="counts"),
        CheckConstraint("active_seq BETWEEN 0 AND last_seq", name="active_seq"),
        CheckConstraint("summary_upto_seq BETWEEN 0 AND last_seq", name="summary_upto_seq"),
        CheckConstraint("title_source IN ('default', 'question', 'model', 'user')", name="title_source"),
        CheckConstraint(f"cardinality(tags) <= {MAX_TAGS}", name="tags"),
        Index(
            "ix_chat_sessions_user_id_is_active_updated_at",
            "user_id",
            "is_active",
            text("updated_at DESC"),
            text("id DESC"),
        ),
        Index(
            "ix_chat_sessions_user_id_pinned",
            "user_id",
            text("updated_at DESC"),
            text("id DESC"),
            postgresql_where=text("is_pinned"),
        ),
    )
