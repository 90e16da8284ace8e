"""Usage totals of users and sessions: today, this month and in total."""

from typing import Any, Literal

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
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
