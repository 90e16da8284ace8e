"""Who came back: accounts by when they were registered, and how many of them were active later."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, TIMESTAMP, Select, bindparam, column, exists, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import LlmCall, UsagePending, User, UserUsageQuarter
from app.database.repositories.analytics.report_columns import FROM, TO, bucket_number

_MOMENT = TIMESTAMP(timezone=True)
_BEGINNINGS, _ENDS = (bindparam(name, type_=ARRAY(_MOMENT)) for name in ("p_beginnings", "p_ends"))


class CohortActivity(NamedTuple):
    """How many accounts of a cohort were active in a period; both are counted from 0, as the edges have them."""

    cohort: int
    period: int
    users: int
    active: int


def _statement() -> Select[Any]:
    periods = (
        func.unnest(_BEGINNINGS, _ENDS)
        .table_valued(
            column("beginning", _MOMENT),
            column("end", _MOMENT),
            with_ordinality="place",
            name="periods",
        )
        .render_derived()
    )
    period = (periods.c.place - 1).label("period")
    users = (
        select(User.id, bucket_number(User.created_at).label("cohort"))
        .where(User.created_at >= FROM, User.created_at < TO)
        .subquery("cohorts")
    )
    pending = (
        select(LlmCall.user_id, bucket_number(LlmCall.created_at))
        .join(UsagePending, UsagePending.call_id == LlmCall.id)
        .where(LlmCall.created_at >= FROM, LlmCall.created_at < TO)
    )
    was_active = or_(
        exists().where(
            UserUsageQuarter.user_id == users.c.id,
            UserUsageQuarter.quarter >= periods.c.beginning,
            UserUsageQuarter.quarter < periods.c.end,
        ),
        # Not one look for each user: there are few pending rows, and many users.
        tuple_(users.c.id, period).in_(pending),
    )
    return (
        select(users.c.cohort, period, func.count().label("users"), func.count().filter(was_active).label("active"))
        .select_from(users.join(periods, period >= users.c.cohort))
        .group_by(users.c.cohort, "period")
        .order_by(users.c.cohort, "period")
    )


_STATEMENT = _statement()


async def read_activity(session: AsyncSession, edges: Sequence[datetime]) -> list[CohortActivity]:
    """Return how many of those who were registered between two edges were active then, and between any two later ones.

    There is nothing of a cohort without accounts. Accounts that have been erased are in none.
    """
    parameters = {
        "p_from": edges[0],
        "p_to": edges[-1],
        "p_edges": list(edges),
        "p_beginnings": list(edges[:-1]),
        "p_ends": list(edges[1:]),
    }
    return [CohortActivity(*row) for row in await session.execute(_STATEMENT, parameters)]
