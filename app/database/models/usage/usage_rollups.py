"""Tables of the usage roll-ups: quarter-hour, daily and weekly, with latency histograms, error and feedback counts.

Roll-ups of the ledger and the queue of pending ledger rows together are exact at any time.
"""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Numeric, SmallInteger, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base

_ZERO = text("0")


class UsagePending(Base):
    """Ledger row that no roll-up contains yet. A trigger of the ledger inserts it, the worker deletes it."""

    __tablename__ = "usage_pending"

    call_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Key of the row in `llm_calls`."""


class UsageCounters:
    """Counters of the usage roll-ups."""

    calls: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Attempts at model calls: rows of the ledger."""
    turns: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Number of first attempts at answers. At most one attempt of a turn, the last, is `ok` or `cancelled`."""
    ok: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Successful attempts: at most one per turn."""
    cancelled: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Cancelled attempts: at most one per turn. Turns with neither have failed."""
    fallback: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Calls that are `ok` and not of the turn's first model."""
    cached: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Answers from the response cache, or from a shared call that another request accounts for."""
    estimated: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Attempts with estimated token counts."""
    unpriced: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Calls whose price is not known. `cost_usd` does not include them."""
    prompt_tokens: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Tokens that were sent."""
    completion_tokens: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Tokens that were received."""
    cost_usd: Mapped[Decimal] = mapped_column(Numeric(24, 9), server_default=_ZERO)
    """Cost in US dollars."""
    latency_ms: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Total duration of all attempts in milliseconds."""


class UsageQuarter(UsageCounters, Base):
    """Quarter-hour roll-up of all accounts. It has no reference to accounts and is kept indefinitely."""

    __tablename__ = "usage_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True, sort_order=-3)
    """Start of the quarter-hour in UTC."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True, sort_order=-2)
    """Requested model."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=-1)
    """As in the ledger."""


class UserUsageQuarter(UsageCounters, Base):
    """Quarter-hour roll-up of one account, deleted with the account."""

    __tablename__ = "user_usage_quarters"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, sort_order=-4)
    """User who asked."""
    quarter: Mapped[datetime] = mapped_column(primary_key=True, sort_order=-3)
    """Start of the quarter-hour in UTC."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True, sort_order=-2)
    """Requested model."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=-1)
    """As in `usage_quarters`."""

    __table_args__ = (Index("ix_user_usage_quarters_quarter", "quarter"),)


class ProviderUsageQuarter(UsageCounters, Base):
    """Quarter-hour roll-up of all accounts by provider. Calls whose provider is not known are left out."""

    __tablename__ = "provider_usage_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True, sort_order=-4)
    """Start of the quarter-hour in UTC."""
    provider: Mapped[str] = mapped_column(String(50), primary_key=True, sort_order=-3)
    """Name of the provider, as in the ledger."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True, sort_order=-2)
    """Requested model."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=-1)
    """As in the ledger."""


class UserUsageDay(UsageCounters, Base):
    """Daily roll-up of one account (UTC), for reports on all accounts over long ranges."""

    __tablename__ = "user_usage_days"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, sort_order=-4)
    """User who asked."""
    day: Mapped[datetime] = mapped_column(primary_key=True, sort_order=-3)
    """Start of the day in UTC."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=-1)
    """As in the ledger."""

    __table_args__ = (Index("ix_user_usage_days_day", "day"),)


class UserUsageWeek(UsageCounters, Base):
    """Weekly roll-up of one account (UTC), for reports on many accounts over long ranges."""

    __tablename__ = "user_usage_weeks"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True, sort_order=-4)
    """User who asked."""
    week: Mapped[datetime] = mapped_column(primary_key=True, sort_order=-3)
    """Start of the week in UTC, a Monday."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True, sort_order=-1)
    """As in the ledger."""

    __table_args__ = (Index("ix_user_usage_weeks_week", "week"),)


class UsageRepair(Base):
    """Reconciliation progress, one row for each granularity of the roll-ups."""

    __tablename__ = "usage_repair"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """1: quarter-hour roll-ups, 2: daily roll-ups, 3: weekly roll-ups, 4: roll-ups by provider."""
    upto: Mapped[datetime] = mapped_column(server_default=text("'-infinity'"))
    """Everything before this time has been compared in the current pass."""
    passes: Mapped[int] = mapped_column(server_default=_ZERO)
    """Number of complete passes; reset to 0 if a window had to be skipped.

    In the first pass, differences are data that earlier releases did not roll up.
    """
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """Time from which the current or the next pass may continue."""

    __table_args__ = (CheckConstraint("id IN (1, 2, 3, 4)", name="known"),)


class LatencyQuarter(Base):
    """Latency histogram of calls by quarter-hour and model."""

    __tablename__ = "latency_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True)
    """As in `usage_quarters`."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    """As in `usage_quarters`."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True)
    """As in `usage_quarters`."""
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """Histogram bucket n: from 1.05 ** n ms up to 1.05 ** (n + 1) ms. 0 ms is in bucket 0."""
    latencies: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Number of calls with this latency."""
    first_tokens: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Number of calls with this time to first token."""


class ErrorQuarter(Base):
    """Number of failed calls by quarter-hour, model and error code."""

    __tablename__ = "error_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True)
    """As in `usage_quarters`."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    """As in `usage_quarters`."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True)
    """As in `usage_quarters`."""
    error_code: Mapped[str] = mapped_column(String(50), primary_key=True)
    """As in the ledger."""
    calls: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Ledger rows."""


class ProviderLatencyQuarter(Base):
    """Latency histogram of calls by quarter-hour, provider and model."""

    __tablename__ = "provider_latency_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True)
    """As in `usage_quarters`."""
    provider: Mapped[str] = mapped_column(String(50), primary_key=True)
    """Name of the provider, as in the ledger."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    """As in `usage_quarters`."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True)
    """As in `usage_quarters`."""
    bucket: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """Histogram bucket, as in `LatencyQuarter`."""
    latencies: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Number of calls with this latency."""
    first_tokens: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Number of calls with this time to first token."""


class ProviderErrorQuarter(Base):
    """Number of failed calls by quarter-hour, provider, model and error code."""

    __tablename__ = "provider_error_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True)
    """As in `usage_quarters`."""
    provider: Mapped[str] = mapped_column(String(50), primary_key=True)
    """Name of the provider, as in the ledger."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    """As in `usage_quarters`."""
    purpose: Mapped[str] = mapped_column(String(20), primary_key=True)
    """As in `usage_quarters`."""
    error_code: Mapped[str] = mapped_column(String(50), primary_key=True)
    """As in the ledger."""
    calls: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Ledger rows."""


class FeedbackQuarter(Base):
    """Number of ratings by the quarter-hour of the rating, model, rating and reason.

    Changed in the transaction that changes the feedback. It has no reference to accounts and is kept indefinitely, so
    that ratings still count after the answer has been deleted.
    """

    __tablename__ = "feedback_quarters"

    quarter: Mapped[datetime] = mapped_column(primary_key=True)
    """Start of the quarter-hour of the first rating of an answer."""
    model: Mapped[str] = mapped_column(String(200), primary_key=True)
    """Empty: unknown."""
    rating: Mapped[str] = mapped_column(String(10), primary_key=True)
    """`up` or `down`."""
    reason: Mapped[str] = mapped_column(String(50), primary_key=True)
    """Empty: all feedback with this rating. `unspecified`: feedback without a reason."""
    ratings: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Number of answers. A rating with two reasons is counted for both."""
