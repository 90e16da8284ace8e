"""Idempotency keys of requests, with their stored responses."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class IdempotencyKey(IdMixin, CreatedMixin, Base):
    """An idempotency key that a client sent with a request, and the response.

    The statement that starts a turn also inserts its key, so that a refused request leaves no key.
    """

    __tablename__ = "idempotency_keys"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    route: Mapped[str] = mapped_column(String(200))
    """Operation and the ids in its path."""
    key: Mapped[str] = mapped_column(String(255))
    """Key as the client sent it."""
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the request body, to detect a different request with the same key."""
    session_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("chat_sessions.id", ondelete="CASCADE"), index=True
    )
    """Session that the request created or asked in. Deleting it deletes the key. Null for a direct question."""
    turn_id: Mapped[UUID | None]
    """Public id of the answer, set before `response` is. Null: the request asks no question."""
    status_code: Mapped[int | None]
    response: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Response body, byte for byte."""
    lease_expires_at: Mapped[datetime | None]
    """End of the lease of the process that answers a direct question. Null for all other requests."""
    expires_at: Mapped[datetime] = mapped_column(index=True)
    """When the key may be reused."""

    __table_args__ = (
        UniqueConstraint("user_id", "route", "key"),
        CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint_is_sha256"),
        CheckConstraint("(status_code IS NULL) = (response IS NULL)", name="whole_response"),
        # A key without a response has either a session, whose answer has a lease, or a lease of its own.
        CheckConstraint(
            "response IS NOT NULL OR (session_id IS NULL) = (lease_expires_at IS NOT NULL)", name="lease_while_open"
        ),
    )
