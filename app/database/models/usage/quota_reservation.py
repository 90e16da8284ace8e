"""What turns under way may still use up."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class QuotaReservation(Base):
    """The most that one answer may take of its owner's quota. It counts until the ledger has the turn."""

    __tablename__ = "quota_reservations"

    turn_id: Mapped[UUID] = mapped_column(primary_key=True)
    """As in the ledger."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    tokens: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal] = mapped_column(Numeric(18, 9))
    expires_at: Mapped[datetime] = mapped_column(index=True)
    """By then the turn has ended, or its process has died and told nobody."""

    __table_args__ = (
        CheckConstraint("tokens >= 0 AND cost_usd >= 0", name="amounts"),
        Index("ix_quota_reservations_user_id_expires_at", "user_id", "expires_at"),
    )
