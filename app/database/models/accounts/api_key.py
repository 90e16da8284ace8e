"""API keys."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin

PREFIX_LENGTH = 12
"""Number of characters of a key that are stored and shown."""


class ApiKey(IdMixin, CreatedMixin, Base):
    """A key with which a program of the owner authenticates at the chat service, instead of a login."""

    __tablename__ = "api_keys"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    """Owner; the keys are deleted with the account."""
    name: Mapped[str] = mapped_column(String(100))
    """Name that the owner gave it."""
    prefix: Mapped[str] = mapped_column(String(PREFIX_LENGTH))
    """First characters of the key, for recognition in a list."""
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """SHA-256 of the key. The key itself is returned once, at creation."""
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    """One or more of `chat:read`, `chat:write`, `chat:completions`."""
    last_used_at: Mapped[datetime | None]
    """Precise to a minute, so that not every request writes."""
    expires_at: Mapped[datetime | None]
    """Null: the key does not expire."""

    __table_args__ = (
        CheckConstraint(
            "cardinality(scopes) > 0 AND scopes <@ ARRAY['chat:read', 'chat:write', 'chat:completions']::varchar[]",
            name="scopes",
        ),
        CheckConstraint("octet_length(token_hash) = 32", name="token_hash_is_sha256"),
    )
