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
    """Caller; the keys are deleted with the account."""
    route: Mapped[str] = mapped_column(String(200))
    """Operation and the ids in its path, such as `send_message 01a2...`."""
    key: Mapped[str] = mapped_column(String(255))
    """Value of the header, 1 to 255 visible characters."""
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the request body, to detect a different request with the same key."""
    session_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("chat_sessions.id", ondelete="CASCADE"), index=True
    )
    """Session that was created, or in which the question was asked; null for a direct question.

    The key and the stored text are deleted with the session.
    """
    turn_id: Mapped[UUID | None]
    """Public id of the answer; of a direct question its `turn_id` in the ledger; null if a session was created without
    a question.
    """
    status_code: Mapped[int | None]
    """Status of the response."""
    response: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Body of the response, byte for byte.

    Null while the answer is being generated; the status of the message decides whether it is.
    """
    lease_expires_at: Mapped[datetime | None]
    """End of the lease of the process that answers a direct question; null with a response, and for other requests."""
    expires_at: Mapped[datetime] = mapped_column(index=True)
    """24 hours after the request; the key may then be reused. The worker deletes the row."""

    __table_args__ = (
        UniqueConstraint("user_id", "route", "key"),
        CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint_is_sha256"),
        CheckConstraint("(status_code IS NULL) = (response IS NULL)", name="whole_response"),
        # A key without a response has either a session, whose answer has a lease, or a lease of its own.
        CheckConstraint(
            "response IS NOT NULL OR (session_id IS NULL) = (lease_expires_at IS NOT NULL)", name="lease_while_open"
        ),
    )
