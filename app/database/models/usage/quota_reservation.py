"""Table of quota reservations of running turns."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class QuotaReservation(Base):
    """Maximum use of a running turn. It counts against the quota until the ledger contains the turn."""

    __tablename__ = "quota_reservations"

    turn_id: Mapped[UUID] = mapped_column(primary_key=True)
    """Turn id of the ledger."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    """Owner of the quota; deleted with the account."""
    tokens: Mapped[int] = mapped_column(BigInteger)
    """Estimated maximum of the tokens of the turn."""
    cost_usd: Mapped[Decimal] = mapped_column(Numeric(18, 9))
    """Estimated maximum of the cost of the turn in US dollars."""
    expires_at: Mapped[datetime] = mapped_column(index=True)
    """Time after which the reservation no longer counts, in case the process of the turn was killed."""

    __table_args__ = (
        CheckConstraint("tokens >= 0 AND cost_usd >= 0", name="amounts"),
        Index("ix_quota_reservations_user_id_expires_at", "user_id", "expires_at"),
    )
