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
    """Owner; deleted with the account."""
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """SHA-256 of the current refresh token. The token itself is not stored."""
    previous_token_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    """SHA-256 of its predecessor, which gets the same successor again until that is used."""
    rotated_at: Mapped[datetime | None]
    """Time of the last rotation; null before the first one."""
    user_agent: Mapped[str | None] = mapped_column(String(400))
    """User agent of the device, at most 400 characters."""
    ip: Mapped[str | None] = mapped_column(INET)
    """Client address of the login, as the gateway reported it; null for a Unix socket."""
    expires_at: Mapped[datetime]
    """End of the login, `REFRESH_TOKEN_EXPIRE_DAYS` after it was created or last renewed; checked on each request."""
    revoked_at: Mapped[datetime | None]
    """If set, every token of this login is invalid, on all services. Checked on each request."""
    revoked_reason: Mapped[str | None] = mapped_column(Text)
    """`logout`, `logout_all`, `removed`, `replayed`, `password_changed`, `password_reset` or `disabled`."""

    __table_args__ = (
        CheckConstraint("(revoked_at IS NULL) = (revoked_reason IS NULL)", name="revoked_with_reason"),
        CheckConstraint("octet_length(token_hash) = 32", name="token_hash_is_sha256"),
        CheckConstraint("octet_length(previous_token_hash) = 32", name="previous_token_hash_is_sha256"),
    )
