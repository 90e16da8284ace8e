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
    """Public id, `session_id` in the API."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    """Owner; every query of the chat service is restricted to it. Deleted with the account."""
    title: Mapped[str] = mapped_column(String(200))
    """Title of the session, `New Chat` before its first question; searched."""
    title_source: Mapped[TitleSource] = mapped_column(String(20), server_default="user")
    """Who wrote it: `default` (nobody), `question`, `model` or `user`.

    A title is replaced by one of a later kind only, but deleting a first question resets it unless it is the user's.
    Sessions from before this column count as the user's.
    """
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'"))
    """`context` given at creation or changed later.

    It applies to every question; the context of a question overrides it key by key.
    """
    model: Mapped[str | None] = mapped_column(String(200))
    """Model of questions that name none. Null, or a model that is no longer allowed: the default of the settings."""
    is_active: Mapped[bool] = mapped_column(server_default=true())
    """False: the session is archived. It accepts no questions, and only lists of archived sessions contain it."""
    is_pinned: Mapped[bool] = mapped_column(server_default=false())
    """Whether the owner has pinned the session."""
    tags: Mapped[list[str]] = mapped_column(ARRAY(String(MAX_TAG_LENGTH)), server_default=text("'{}'"))
    """Labels that the owner has given, normalized and without duplicates."""
    last_seq: Mapped[int] = mapped_column(server_default=text("0"))
    """Highest `seq` that a message of the session was given.

    It is increased under the lock of the row, so numbers are unique.
    """
    active_seq: Mapped[int | None]
    """`seq` of the last message of the active branch: the one that a reader sees and the model is sent.

    Null: the newest message. 0: there are no messages.
    """
    message_count: Mapped[int] = mapped_column(server_default=text("0"))
    """Number of messages of all branches, including the pending answer."""
    last_message_preview: Mapped[str | None] = mapped_column(String(PREVIEW_LENGTH + 1))
    """First 100 characters of the last message of the active branch, with `…` if it is longer."""
    last_message_at: Mapped[datetime | None]
    """Time of that message."""
    # Unused since revision 0017, which moved summaries to a table of their own. The previous release writes them.
    summary: Mapped[str | None] = mapped_column(Text, deferred=True, deferred_raiseload=True)
    """Unused since revision 0017: see `chat_summaries`. The previous release writes them."""
    summary_upto_seq: Mapped[int] = mapped_column(server_default=text("0"))
    """Unused since revision 0017: see `chat_summaries`. The previous release writes them."""
    summary_lease_expires_at: Mapped[datetime | None]
    """End of the lease of the process that is summarizing a branch; null: there is none."""

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
