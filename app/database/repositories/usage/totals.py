"""Usage totals of users and sessions: today, this month and in total."""

from datetime import UTC, date
from typing import Any, Literal

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
    values,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import LlmCall
from app.database.repositories.usage import rollup_tables
from app.database.repositories.usage.exact_usage import COUNTERS, UsageTotals, sum_counter, usage_by_quarter
from app.database.repositories.usage.usage_by_user import usage_by_user

Period = Literal["today", "month", "total"]
"""Days and months begin at midnight in UTC."""


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


def _daily_totals_statement() -> Select[Any]:
    today = rollup_tables.start_of_day(func.now())
    since = today - func.make_interval(0, 0, 0, bindparam("p_days", type_=Integer) - 1)
    user = select(bindparam("p_user_id", type_=BigInteger))
    tomorrow = rollup_tables.next_day(func.now())
    usage = usage_by_user(since, tomorrow, longest_period=literal("day"), user_ids=user)
    day = rollup_tables.start_of_day(usage.c.quarter).label("day")
    counters = (sum_counter(usage, name).label(name) for name in COUNTERS)
    return select(day, *counters).group_by(day).having(func.sum(usage.c.calls) > 0).order_by(day)


_DAILY_TOTALS = _daily_totals_statement()

_SESSION_TOTALS = select(*rollup_tables.usage_counters(LlmCall.__table__)).where(
    LlmCall.session_id == bindparam("p_session_id", type_=BigInteger)
)


async def user_totals(session: AsyncSession, user_id: int) -> dict[Period, UsageTotals]:
    """Return the current usage of a user by period."""
    rows = await session.execute(_USER_TOTALS, {"p_user_id": user_id})
    return {name: UsageTotals(*counters) for name, *counters in rows}


async def daily_totals(session: AsyncSession, user_id: int, days: int) -> dict[date, UsageTotals]:
    """Return the usage of a user on the last `days` days in UTC, of which the last is today; only days with usage."""
    rows = await session.execute(_DAILY_TOTALS, {"p_user_id": user_id, "p_days": days})
    return {day.astimezone(UTC).date(): UsageTotals(*counters) for day, *counters in rows}


async def session_totals(session: AsyncSession, session_id: int) -> UsageTotals:
    """Return the usage of the session with the internal key `session_id`."""
    return UsageTotals(*(await session.execute(_SESSION_TOTALS, {"p_session_id": session_id})).one())
