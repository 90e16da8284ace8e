"""What was used and what it cost."""

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
    """Sums over rows of the ledger; see `UsageCounters`."""

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
"""What is summed up."""


def by_quarter(user_id: ColumnElement[int] | None = None) -> Subquery:
    """Build the exact usage of everybody or of one user, by quarter of an hour, model and purpose.

    There may be two rows with the same keys: sum them up.
    """
    if user_id is None:
        return rollup_tables.USAGE.exact().subquery("usage")
    return rollup_tables.USAGE_BY_USER.exact(lambda rows: rows.c.user_id == user_id).subquery("usage")


def errors_by_quarter() -> Subquery:
    """Build how many calls failed, by quarter of an hour, model, purpose and `error_code`.

    There may be two rows with the same keys: sum them up.
    """
    return rollup_tables.ERRORS.exact().subquery("errors")


def summed(usage: Subquery, counter: str, *where: ColumnElement[bool]) -> ColumnElement[Any]:
    """Build the sum of a counter over rows of `by_quarter`."""
    amounts = func.sum(usage.c[counter])
    total = func.coalesce(amounts.filter(*where) if where else amounts, 0)
    return total if counter == "cost_usd" else cast(total, BigInteger)


def was_active(
    user_id: SQLCoreOperations[int], since: ColumnElement[datetime], until: ColumnElement[datetime]
) -> ColumnElement[bool]:
    """Build the question whether a user had a model asked from then until then, both full quarters of an hour."""
    calls, days, theirs = LlmCall.__table__, UserUsageDay, UserUsageQuarter
    pending = select(calls.c.user_id).join(UsagePending, UsagePending.call_id == calls.c.id)
    return or_(
        # What there is of a whole day is enough, whatever it lacks. Most accounts are found in these few rows.
        exists().where(
            days.user_id == user_id, days.day >= rollup_tables.next_day(since), days.day < rollup_tables.day(until)
        ),
        exists().where(theirs.user_id == user_id, theirs.quarter >= since, theirs.quarter < until),
        # Not one look for each user: there are few pending rows, and many users.
        user_id.in_(pending.where(calls.c.created_at >= since, calls.c.created_at < until)),
    )


def _periods_statement() -> Select[Any]:
    usage = by_quarter(bindparam("p_user_id", type_=BigInteger))
    periods = values(column("name", Text), column("since", TIMESTAMP(timezone=True)), name="periods").data(
        [
            ("today", func.date_trunc("day", func.now(), "UTC")),
            ("month", func.date_trunc("month", func.now(), "UTC")),
            ("total", cast(literal("-infinity"), TIMESTAMP(timezone=True))),
        ]
    )
    return (
        select(periods.c.name, *(summed(usage, name).label(name) for name in COUNTERS))
        .select_from(periods.outerjoin(usage, usage.c.quarter >= periods.c.since))
        .group_by(periods.c.name)
    )


_PERIODS = _periods_statement()
_OF_SESSION = select(*rollup_tables.amounts(LlmCall.__table__)).where(
    LlmCall.session_id == bindparam("p_session_id", type_=BigInteger)
)


async def user_totals(session: AsyncSession, user_id: int) -> dict[Period, UsageTotals]:
    """Return what a user has used up to now."""
    rows = await session.execute(_PERIODS, {"p_user_id": user_id})
    return {name: UsageTotals(*counters) for name, *counters in rows}


async def session_totals(session: AsyncSession, session_id: int) -> UsageTotals:
    """Return what was used in a session, by its internal key."""
    return UsageTotals(*(await session.execute(_OF_SESSION, {"p_session_id": session_id})).one())
