"""Usage of accounts in a time range, read from the longest roll-ups that cover it."""

from datetime import datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, FromClause, Select, Subquery, any_, case, func, literal, select, union_all

from app.database.models import LlmCall, UsagePending
from app.database.repositories.usage import rollup_tables
from app.database.repositories.usage.exact_usage import COUNTERS
from app.database.repositories.usage.rollup_tables import RollupTable


def usage_by_user(
    start: ColumnElement[datetime],
    end: ColumnElement[datetime],
    *,
    longest_period: ColumnElement[str],
    user_ids: Select[Any] | None = None,
) -> Subquery:
    """Build the usage of accounts from `start` until `end`: `user_id`, `quarter`, `purpose` and the counters.

    `longest_period` is `quarter`, `day` (daily roll-ups are read too) or `week` (weekly ones too). A daily or weekly
    row has the first quarter-hour of its period that is in the range. Periods may extend beyond the range: the surplus
    is subtracted by rows with negative counters. `user_ids` selects accounts by internal key; None: all accounts.

    A key may occur several times: the caller must add the counters and ignore accounts without calls.
    """
    calls = LlmCall.__table__
    pending = select(calls).join(UsagePending, UsagePending.call_id == calls.c.id)
    pending = pending.where(calls.c.created_at >= start, calls.c.created_at < end)

    def table_rows(rollup: RollupTable, rows: FromClause, sign: ColumnElement[int]) -> Select[Any]:
        last_quarter = end - rollup_tables.QUARTER
        quarter = func.greatest(start, func.least(rows.c[rollup.time.name], last_quarter)).label("quarter")
        counters = ((sign * rows.c[name]).label(name) for name in COUNTERS)
        statement = select(rows.c.user_id, quarter, rows.c.purpose, *counters)
        if user_ids is None:
            return statement
        # As an array, so that the planner uses the index for a few accounts.
        return statement.where(rows.c.user_id == any_(func.array(user_ids.scalar_subquery())))

    stored = (
        table_rows(rollup, rollup.table, segments.c.sign).join_from(
            segments, rollup.table, (rollup.time >= segments.c.since) & (rollup.time < segments.c.until)
        )
        for rollup, segments in _segments_by_table(start, end, longest_period).items()
    )
    pending_rows = rollup_tables.USAGE_BY_USER.aggregate_rows(pending.subquery("calls")).subquery("pending")
    return union_all(*stored, table_rows(rollup_tables.USAGE_BY_USER, pending_rows, literal(1))).subquery("user_usage")


def _segments_by_table(
    start: ColumnElement[datetime], end: ColumnElement[datetime], longest_period: ColumnElement[str]
) -> dict[RollupTable, CTE]:
    """Build the segments that make up a range, by table: whole weeks, days around them, and quarter-hours around those.

    The range is rounded to the nearest weeks and days, which may extend beyond it. The segment in between then runs
    backwards and has the sign -1: its rows are subtracted.
    """
    by_day = (longest_period != "quarter") & rollup_tables.is_complete(rollup_tables.DAILY_RECONCILIATION_ID)
    by_week = by_day & (longest_period == "week") & rollup_tables.is_complete(rollup_tables.WEEKLY_RECONCILIATION_ID)
    # After now there are no rows to subtract, so the end can be rounded up.
    is_open = end > func.now()
    days = select(
        case((by_day, rollup_tables.nearest_day(start)), else_=end).label("first_day"),
        case(
            (by_day & is_open, rollup_tables.next_day(end)), (by_day, rollup_tables.nearest_day(end)), else_=end
        ).label("last_day"),
    ).cte()
    last_day = days.c.last_day
    edges = select(
        *days.c,
        case((by_week, rollup_tables.nearest_week(start)), else_=last_day).label("first_week"),
        case(
            (by_week & is_open, rollup_tables.next_week(end)),
            (by_week, rollup_tables.nearest_week(end)),
            else_=last_day,
        ).label("last_week"),
    ).cte()
    first_day, last_day, first_week, last_week = edges.c

    def segment(since: ColumnElement[datetime], until: ColumnElement[datetime]) -> Select[Any]:
        sign = case((since <= until, 1), else_=-1)
        return select(
            func.least(since, until).label("since"), func.greatest(since, until).label("until"), sign.label("sign")
        )

    return {
        rollup_tables.USAGE_BY_USER_AND_WEEK: segment(first_week, last_week).cte(),
        rollup_tables.USAGE_BY_USER_AND_DAY: union_all(
            segment(first_day, first_week), segment(last_week, last_day)
        ).cte(),
        rollup_tables.USAGE_BY_USER: union_all(segment(start, first_day), segment(last_day, end)).cte(),
    }
