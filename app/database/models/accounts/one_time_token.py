"""One-time tokens for email verification and password reset."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, CreatedMixin, IdMixin


class OneTimeToken(IdMixin, CreatedMixin, Base):
    """A token that was sent to the email address of an account. Using it deletes the row."""

    __tablename__ = "one_time_tokens"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    """Account; the tokens are deleted with it."""
    purpose: Mapped[str] = mapped_column(String(20))
    """`verify_email` or `reset_password`: the only operation that the token authorizes."""
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """SHA-256 of the token. The token itself is only in the email."""
    expires_at: Mapped[datetime] = mapped_column(index=True)
    """From this time on the token is refused, and the worker deletes it."""

    __table_args__ = (
        CheckConstraint("purpose IN ('verify_email', 'reset_password')", name="purpose"),
        CheckConstraint("octet_length(token_hash) = 32", name="token_hash_is_sha256"),
    )
