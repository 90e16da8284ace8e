"""Usage totals of accounts and sessions, and the columns that all usage queries share."""

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    Text,
    bindparam,
    cast,
    column,
    exists,
    func,
    literal,
    or_,
    select,
    values,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import SQLCoreOperations

from app.database.models import LlmCall, UsagePending, UserUsageDay, UserUsageQuarter
from app.database.repositories.usage import rollup_tables

Period = Literal["today", "month", "total"]
"""Days and months begin at midnight in UTC."""


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Totals of ledger rows, with the counters of `UsageCounters`."""

    calls: int
    turns: int
    ok: int
    cancelled: int
    fallback: int
    cached: int
    estimated: int
    unpriced: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal
    latency_ms: int


COUNTERS = tuple(field.name for field in fields(UsageTotals))
"""Names of the counters, in the order of `UsageTotals`."""


def usage_by_quarter(user_id: ColumnElement[int] | None = None) -> Subquery:
    """Build the current usage of all accounts or of one, by quarter-hour, model and purpose.

    A key may occur twice: the caller must add the counters.
    """
    if user_id is None:
        return rollup_tables.USAGE.with_pending().subquery("usage")
    return rollup_tables.USAGE_BY_USER.with_pending(lambda rows: rows.c.user_id == user_id).subquery("usage")


def errors_by_quarter() -> Subquery:
    """Build the number of failed calls by quarter-hour, model, purpose and `error_code`.

    A key may occur twice: the caller must add the counters.
    """
    return rollup_tables.ERRORS.with_pending().subquery("errors")


def sum_counter(usage: Subquery, counter: str, *where: ColumnElement[bool]) -> ColumnElement[Any]:
    """Build the sum of a counter of `usage_by_quarter`, over the rows that match `where`; 0 without rows."""
    amounts = func.sum(usage.c[counter])
    total = func.coalesce(amounts.filter(*where) if where else amounts, 0)
    return total if counter == "cost_usd" else cast(total, BigInteger)


def was_active(
    user_id: SQLCoreOperations[int], since: ColumnElement[datetime], until: ColumnElement[datetime]
) -> ColumnElement[bool]:
    """Build the condition that a user has ledger rows from `since` until `until`, both full quarter-hours."""
    calls, days, quarters = LlmCall.__table__, UserUsageDay, UserUsageQuarter
    pending = select(calls.c.user_id).join(UsagePending, UsagePending.call_id == calls.c.id)
    return or_(
        # Any daily row is sufficient, even if the daily roll-ups are incomplete. These few rows find most active users.
        exists().where(
            days.user_id == user_id,
            days.day >= rollup_tables.next_day(since),
            days.day < rollup_tables.start_of_day(until),
        ),
        exists().where(quarters.user_id == user_id, quarters.quarter >= since, quarters.quarter < until),
        # Uncorrelated, so that the few pending rows are read once and not once for each user.
        user_id.in_(pending.where(calls.c.created_at >= since, calls.c.created_at < until)),
    )


def _user_totals_statement() -> Select[Any]:
    usage = usage_by_quarter(bindparam("p_user_id", type_=BigInteger))
    periods = values(column("name", Text), column("since", TIMESTAMP(timezone=True)), name="periods").data(
        [
            ("today", func.date_trunc("day", func.now(), "UTC")),
            ("month", func.date_trunc("month", func.now(), "UTC")),
            ("total", cast(literal("-infinity"), TIMESTAMP(timezone=True))),
        ]
    )
    return (
        select(periods.c.name, *(sum_counter(usage, name).label(name) for name in COUNTERS))
        .select_from(periods.outerjoin(usage, usage.c.quarter >= periods.c.since))
        .group_by(periods.c.name)
    )


_USER_TOTALS = _user_totals_statement()
_SESSION_TOTALS = select(*rollup_tables.usage_counters(LlmCall.__table__)).where(
    LlmCall.session_id == bindparam("p_session_id", type_=BigInteger)
)


async def user_totals(session: AsyncSession, user_id: int) -> dict[Period, UsageTotals]:
    """Return the current usage of a user by period."""
    rows = await session.execute(_USER_TOTALS, {"p_user_id": user_id})
    return {name: UsageTotals(*counters) for name, *counters in rows}


async def session_totals(session: AsyncSession, session_id: int) -> UsageTotals:
    """Return the usage of the session with the internal key `session_id`."""
    return UsageTotals(*(await session.execute(_SESSION_TOTALS, {"p_session_id": session_id})).one())
