"""Sums over the ledger, by quarter of an hour. What they lack is in the queue, so both together are exact."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, SmallInteger, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base

_NONE_YET = text("0")


class UsagePending(Base):
    """A row of the ledger that no sum holds yet. A trigger of the ledger writes it, the worker takes it out."""

    __tablename__ = "usage_pending"

    call_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)


class UsageCounters:
    """What is summed up."""

    calls: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    turns: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    """First attempts at answers. A turn has at most one that is `ok` or `cancelled`, and then it is the last."""
    ok: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    cancelled: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    fallback: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    """`ok`, but of another model than the turn's first."""
    cached: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    estimated: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    unpriced: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    """Their price is not known, and `cost_usd` is without them."""
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    completion_tokens: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    cost_usd: Mapped[Decimal] = mapped_column(Numeric(24, 9), server_default=_NONE_YET)
    latency_ms: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)


class UsageQuarter(UsageCounters, Base):
    """The usage of everybody, for good: it names nobody."""

    __tablename__ = "usage_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True, sort_order=-3)
    """Its beginning, in UTC."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True, sort_order=-2)
    """As it was asked for."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=-1)


class UserUsageQuarter(UsageCounters, Base):
    """The usage of one account, which goes with it."""

    __tablename__ = "user_usage_quarters"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, sort_order=-4)
    quarter: Mapped[datetime] = mapped_column(primary_key=True, sort_order=-3)
    """Its beginning, in UTC."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True, sort_order=-2)
    """As it was asked for."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=-1)

    __table_args__ = (Index("ix_user_usage_quarters_quarter", "quarter"),)


class UserUsageDay(UsageCounters, Base):
    """The usage of one account in a day of UTC, so that all accounts can be compared over a long time."""

    __tablename__ = "user_usage_days"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, sort_order=-4)
    day: Mapped[datetime] = mapped_column(primary_key=True, sort_order=-3)
    """Its beginning."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=-1)

    __table_args__ = (Index("ix_user_usage_days_day", "day"),)


class UserUsageWeek(UsageCounters, Base):
    """The usage of one account in a week of UTC, so that this stays quick with many accounts."""

    __tablename__ = "user_usage_weeks"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, sort_order=-4)
    week: Mapped[datetime] = mapped_column(primary_key=True, sort_order=-3)
    """Its beginning, a Monday."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=-1)

    __table_args__ = (Index("ix_user_usage_weeks_week", "week"),)


class UsageRepair(Base):
    """How far sums have been compared with the ledger. A row for each length of time that is summed up."""

    __tablename__ = "usage_repair"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """1: sums by quarter of an hour, 2: sums by day, 3: sums by week."""
    upto: Mapped[datetime] = mapped_column(server_default=text("'-infinity'"))
    """What is before has been compared in this pass."""
    passes: Mapped[int] = mapped_column(server_default=_NONE_YET)
    """How often all of it has been compared. In the first pass differences are what earlier releases did not sum up."""
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When the pass goes on, or the next one begins."""

    __table_args__ = (CheckConstraint("id IN (1, 2, 3)", name="known"),)


class LatencyQuarter(Base):
    """How many answers of models took how long."""

    __tablename__ = "latency_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True)
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """n: from 1.05 ** n ms up to 1.05 ** (n + 1) ms. What took no time is in the first one."""
    latencies: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
    first_tokens: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)


class ErrorQuarter(Base):
    """How many calls failed, and of what."""

    __tablename__ = "error_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True)
    error_code: Mapped[str] = mapped_column(String(50), primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger, server_default=_NONE_YET)
