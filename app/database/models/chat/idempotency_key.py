"""Requests that are carried out once, however often they are sent."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class IdempotencyKey(IdMixin, CreatedMixin, Base):
    """A key that a client sent with a request, and what it was answered.

    The key of a turn is stored by the statement that stores the turn: a request that was refused leaves none.
    """

    __tablename__ = "idempotency_keys"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    route: Mapped[str] = mapped_column(String(200))
    """The operation, and the ids in its path."""
    key: Mapped[str] = mapped_column(String(255))
    """As the client chose it."""
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the request's body, to tell another request under the same key."""
    session_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("chat_sessions.id", ondelete="CASCADE"), index=True
    )
    """What was created, or asked in. The text of an answer goes with its session; null for a direct question."""
    turn_id: Mapped[UUID | None]
    """Public id of the answer, also where `response` is not stored yet; null where nothing was asked."""
    status_code: Mapped[int | None]
    response: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The body, to the byte."""
    lease_expires_at: Mapped[datetime | None]
    """Set while a direct question is being answered: until then its process is taken to be alive."""
    expires_at: Mapped[datetime] = mapped_column(index=True)
    """From then on the key may be used anew."""

    __table_args__ = (
        UniqueConstraint("user_id", "route", "key"),
        CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint_is_sha256"),
        CheckConstraint("(status_code IS NULL) = (response IS NULL)", name="whole_response"),
        # Of every key without a response it can be told when somebody may take over.
        CheckConstraint(
            "response IS NOT NULL OR (session_id IS NULL) = (lease_expires_at IS NOT NULL)", name="lease_while_open"
        ),
    )
