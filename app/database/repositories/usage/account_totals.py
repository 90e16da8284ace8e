"""What accounts used in a stretch of time, from the longest sums that make it up."""

from datetime import datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, FromClause, Select, Subquery, any_, case, func, literal, select, union_all

from app.database.models import LlmCall, UsagePending
from app.database.repositories.usage import rollup_tables
from app.database.repositories.usage.rollup_tables import RollupTable
from app.database.repositories.usage.totals import COUNTERS


def by_user(
    start: ColumnElement[datetime],
    end: ColumnElement[datetime],
    *,
    longest: ColumnElement[str],
    among: Select[Any] | None = None,
) -> Subquery:
    """Build the exact usage of accounts from `start` until `end`: `user_id`, `quarter`, `purpose` and the counters.

    Besides sums by quarter it reads those by day where `longest` says `day`, and those by week too where it says
    `week`. These have the first quarter of theirs that is in the range. What they hold of the time around the range is
    taken away again, by rows with negative counters. `among` says of which few accounts, by their internal keys;
    without it, of all. There may be several rows with the same keys: sum them up, and leave out accounts without calls.
    """
    calls = LlmCall.__table__
    pending = select(calls).join(UsagePending, UsagePending.call_id == calls.c.id)
    pending = pending.where(calls.c.created_at >= start, calls.c.created_at < end)

    def part(of: RollupTable, rows: FromClause, sign: ColumnElement[int]) -> Select[Any]:
        quarter = func.greatest(start, func.least(rows.c[of.time.name], end - rollup_tables.QUARTER)).label("quarter")
        counters = ((sign * rows.c[name]).label(name) for name in COUNTERS)
        found = select(rows.c.user_id, quarter, rows.c.purpose, *counters)
        # An array, so that few accounts are found by their keys.
        return found if among is None else found.where(rows.c.user_id == any_(func.array(among.scalar_subquery())))

    stored = (
        part(of, of.table, stretches.c.sign).join_from(
            stretches, of.table, (of.time >= stretches.c.since) & (of.time < stretches.c.until)
        )
        for of, stretches in _stretches(start, end, longest).items()
    )
    waiting = rollup_tables.USAGE_BY_USER.of_rows(pending.subquery("calls")).subquery("pending")
    return union_all(*stored, part(rollup_tables.USAGE_BY_USER, waiting, literal(1))).subquery("user_usage")


def _stretches(
    start: ColumnElement[datetime], end: ColumnElement[datetime], longest: ColumnElement[str]
) -> dict[RollupTable, CTE]:
    """Build which sums make up a range: whole weeks, days up to them and after them, quarters up to these and after.

    Weeks and days are the nearest ones, and may reach over the ends of the range. Then the stretch between goes
    backwards: it has the sign -1, and is to be taken away.
    """
    by_day = (longest != "quarter") & rollup_tables.are_complete(rollup_tables.DAILY_RECONCILIATION)
    by_week = by_day & (longest == "week") & rollup_tables.are_complete(rollup_tables.WEEKLY_RECONCILIATION)
    # There is nothing after now that would have to be taken away.
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

    def stretch(since: ColumnElement[datetime], until: ColumnElement[datetime]) -> Select[Any]:
        sign = case((since <= until, 1), else_=-1)
        return select(
            func.least(since, until).label("since"), func.greatest(since, until).label("until"), sign.label("sign")
        )

    return {
        rollup_tables.USAGE_BY_USER_AND_WEEK: stretch(first_week, last_week).cte(),
        rollup_tables.USAGE_BY_USER_AND_DAY: union_all(
            stretch(first_day, first_week), stretch(last_week, last_day)
        ).cte(),
        rollup_tables.USAGE_BY_USER: union_all(stretch(start, first_day), stretch(last_day, end)).cte(),
    }
