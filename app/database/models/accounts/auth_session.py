"""Logins and their refresh tokens."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary, String, Text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class AuthSession(IdMixin, CreatedMixin, Base):
    """One login on one device: one family of refresh tokens."""

    __tablename__ = "auth_sessions"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id; the `sid` of access tokens."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """SHA-256 of the current refresh token."""
    previous_token_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    """SHA-256 of its predecessor, to distinguish a lost response from a stolen token."""
    rotated_at: Mapped[datetime | None]
    user_agent: Mapped[str | None] = mapped_column(String(400))
    ip: Mapped[str | None] = mapped_column(INET)
    """Client address of the login, as the gateway reported it."""
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    """If set, no token of the family is valid, on any service."""
    revoked_reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        CheckConstraint("(revoked_at IS NULL) = (revoked_reason IS NULL)", name="revoked_with_reason"),
        CheckConstraint("octet_length(token_hash) = 32", name="token_hash_is_sha256"),
        CheckConstraint("octet_length(previous_token_hash) = 32", name="previous_token_hash_is_sha256"),
    )
