"""Invitations to register."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.identity import MAX_CANONICAL_EMAIL_LENGTH
from app.database.base import Base, CreatedMixin, IdMixin


class Invitation(IdMixin, CreatedMixin, Base):
    """An invitation that an admin sent to an email address. Registering with it deletes the row.

    The token of its link is derived from the public id, so a new invitation of an address invalidates the old link.
    """

    __tablename__ = "invitations"

    uuid: Mapped[UUID] = mapped_column(unique=True)
    """Public id, from which the token of the link is derived. A new invitation of the address gets another one."""
    email: Mapped[str] = mapped_column(String(254))
    """The only address that may register with it."""
    email_canonical: Mapped[str | None] = mapped_column(String(MAX_CANONICAL_EMAIL_LENGTH))
    """Canonical form of `email`, as for accounts. Null: the previous release has stored it."""
    full_name: Mapped[str | None] = mapped_column(String(200))
    """Name of the account, unless the owner enters another one."""
    role: Mapped[str] = mapped_column(String(20))
    """Role of the account."""
    expires_at: Mapped[datetime] = mapped_column(index=True)
    """From this time on it cannot be used, and the worker deletes it."""

    __table_args__ = (
        CheckConstraint("role IN ('user', 'admin')", name="role"),
        Index("uq_invitations_email_canonical", "email_canonical", unique=True),
        # For the previous release.
        Index("uq_invitations_email_lower", func.lower(email), unique=True),
    )
