"""Cohort retention: active accounts by cohort of registration and period."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, TIMESTAMP, Select, bindparam, column, exists, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import LlmCall, UsagePending, User, UserUsageQuarter
from app.database.repositories.analytics.report_columns import FROM, TO, bucket_number

_MOMENT = TIMESTAMP(timezone=True)
_STARTS, _ENDS = (bindparam(name, type_=ARRAY(_MOMENT)) for name in ("p_starts", "p_ends"))


class CohortActivity(NamedTuple):
    """Number of accounts of a cohort, and of those active in a period. Both are indexes into the buckets, from 0."""

    cohort: int
    period: int
    users: int
    active: int


def _activity_statement() -> Select[Any]:
    periods = (
        func.unnest(_STARTS, _ENDS)
        .table_valued(
            column("start", _MOMENT),
            column("end", _MOMENT),
            with_ordinality="number",
            name="periods",
        )
        .render_derived()
    )
    period = (periods.c.number - 1).label("period")
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
            UserUsageQuarter.quarter >= periods.c.start,
            UserUsageQuarter.quarter < periods.c.end,
        ),
        # Uncorrelated, so that the few pending rows are read once and not once for each user.
        tuple_(users.c.id, period).in_(pending),
    )
    return (
        select(users.c.cohort, period, func.count().label("users"), func.count().filter(was_active).label("active"))
        .select_from(users.join(periods, period >= users.c.cohort))
        .group_by(users.c.cohort, "period")
        .order_by(users.c.cohort, "period")
    )


_ACTIVITY = _activity_statement()


async def read_activity(session: AsyncSession, edges: Sequence[datetime]) -> list[CohortActivity]:
    """Return the activity of each cohort in its own bucket and in each later one. Buckets lie between two `edges`.

    Cohorts without accounts are left out. Erased accounts are not counted.
    """
    parameters = {
        "p_from": edges[0],
        "p_to": edges[-1],
        "p_edges": list(edges),
        "p_starts": list(edges[:-1]),
        "p_ends": list(edges[1:]),
    }
    return [CohortActivity(*row) for row in await session.execute(_ACTIVITY, parameters)]
