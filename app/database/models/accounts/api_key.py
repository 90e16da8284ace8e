"""Keys for programs."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin

PREFIX_LENGTH = 12


class ApiKey(IdMixin, CreatedMixin, Base):
    """A key that a program of the owner shows instead of a login, at the chat service only."""

    __tablename__ = "api_keys"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(100))
    """What the owner calls it."""
    prefix: Mapped[str] = mapped_column(String(PREFIX_LENGTH))
    """Its first characters, to recognise it by."""
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """SHA-256 of the key. The key itself was shown once."""
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    """What it may do."""
    last_used_at: Mapped[datetime | None]
    """To the minute, so that not every request writes."""
    expires_at: Mapped[datetime | None]
    """Null: never."""

    __table_args__ = (
        CheckConstraint(
            "cardinality(scopes) > 0 AND scopes <@ ARRAY['chat:read', 'chat:write']::varchar[]", name="scopes"
        ),
        CheckConstraint("octet_length(token_hash) = 32", name="token_hash_is_sha256"),
    )
