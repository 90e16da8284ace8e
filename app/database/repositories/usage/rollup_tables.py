"""What is summed up of the ledger, and how: one statement adds to the sums, and the others read them, by this.

What the sums lack is pending. The two are read by one statement, and so of the same moment: what the worker is just
adding to the sums is either still pending or in them already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import (
    TIMESTAMP,
    ColumnElement,
    CompoundSelect,
    Float,
    FromClause,
    Integer,
    Interval,
    Select,
    SmallInteger,
    Table,
    column,
    exists,
    func,
    literal_column,
    select,
    text,
    true,
    union_all,
    values,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import Insert, insert

from app.database.base import Base
from app.database.models import (
    ErrorQuarter,
    LatencyQuarter,
    LlmCall,
    UsagePending,
    UsageQuarter,
    UsageRepair,
    UserUsageDay,
    UserUsageQuarter,
    UserUsageWeek,
)

DAILY_RECONCILIATION, WEEKLY_RECONCILIATION = 2, 3
"""The rows in `usage_repair` that say how far sums by day and by week have been compared."""
_PASSES = 2
BUCKET_WIDTH = 1.05
"""Times are counted in buckets, each so many times as long as the one before. Another width needs all counted anew."""

QUARTER: ColumnElement[timedelta] = literal_column("interval '15 minutes'", Interval)
_DAY: ColumnElement[timedelta] = literal_column("interval '1 day'", Interval)
_HALF_DAY: ColumnElement[timedelta] = literal_column("interval '12 hours'", Interval)
_WEEK: ColumnElement[timedelta] = literal_column("interval '7 days'", Interval)
_HALF_WEEK: ColumnElement[timedelta] = literal_column("interval '84 hours'", Interval)
_INSTANT: ColumnElement[timedelta] = literal_column("interval '1 microsecond'", Interval)
_MONDAY = text("timestamptz '2000-01-03 00:00:00+00'")

Condition = Callable[[FromClause], ColumnElement[bool]]
"""What holds of rows of a table of sums, and of rows of the ledger, by a column of both."""


@dataclass(frozen=True, slots=True, eq=False)
class RollupTable:
    """One table of sums."""

    table: Table
    keys: tuple[str, ...]
    counters: tuple[str, ...]
    of: Callable[[FromClause], Select[Any]]
    """Builds the sums of rows of the ledger: what the table holds of them, or will."""

    @property
    def time(self) -> ColumnElement[datetime]:
        """The column that says when."""
        (name,) = {"quarter", "day", "week"}.intersection(self.keys)
        return self.table.c[name]

    @property
    def is_by_user(self) -> bool:
        """Whether they are of accounts, and go with them."""
        return "user_id" in self.keys

    @classmethod
    def into(cls, model: type[Base], of: Callable[[FromClause], Select[Any]]) -> "RollupTable":
        """Describe the sums that a table holds: its primary key tells them apart, all else is counted."""
        table = cast("Table", model.__table__)
        keys = tuple(table.primary_key.columns.keys())
        return cls(table, keys, tuple(name for name in table.c.keys() if name not in keys), of)  # noqa: SIM118 - a key is no column

    def exact(self, where: Condition | None = None) -> CompoundSelect[Any]:
        """Build what the sums are at this moment. There may be two rows with the same keys: sum them up."""
        columns = (*self.keys, *self.counters)
        pending = select(LlmCall.__table__).join(UsagePending, UsagePending.call_id == LlmCall.id)
        stored = select(*(self.table.c[name] for name in columns))
        if where is not None:
            # Within each: the planner does not always take a condition into both by itself.
            stored, pending = stored.where(where(self.table)), pending.where(where(LlmCall.__table__))
        return union_all(stored, self.of_rows(pending.subquery("calls")))

    def of_rows(self, calls: FromClause) -> Select[Any]:
        """Build the sums of rows of the ledger, in the order of the table."""
        summed = self.of(calls).subquery("summed")
        return select(*(summed.c[name] for name in (*self.keys, *self.counters)))

    def adding(self, rows: FromClause) -> Insert:
        """Build the statement that adds rows like those of the table to what it holds."""
        columns = (*self.keys, *self.counters)
        # In the order of its keys: two that add at once wait for each other in a row, never in a circle.
        ordered = select(*(rows.c[name] for name in columns)).order_by(*(rows.c[key] for key in self.keys))
        added = insert(self.table).from_select(columns, ordered)
        return added.on_conflict_do_update(
            index_elements=self.keys, set_={name: self.table.c[name] + added.excluded[name] for name in self.counters}
        )


def quarter(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the beginning of the quarter of an hour that a time is in. In every time zone days begin with one."""
    return _beginning(QUARTER, time)


def day(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the beginning of the day of UTC that a time is in."""
    return _beginning(_DAY, time)


def week(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the beginning of the week of UTC that a time is in: a Monday."""
    return _beginning(_WEEK, time)


def next_day(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the beginning of the next day of UTC, or the time itself where it is one."""
    return day(time + _DAY - _INSTANT)


def next_week(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the beginning of the next week of UTC, or the time itself where it is one."""
    return week(time + _WEEK - _INSTANT)


def nearest_day(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the beginning of a day of UTC that is next to the time, before it or after."""
    return day(time + _HALF_DAY)


def nearest_week(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the beginning of a week of UTC that is next to the time, before it or after."""
    return week(time + _HALF_WEEK)


def _beginning(length: ColumnElement[timedelta], time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    return func.date_bin(length, time, _MONDAY, type_=TIMESTAMP(timezone=True))


def are_complete(walk: int) -> ColumnElement[bool]:
    """Build the question whether sums by day, or by week, can be read.

    The worker has to have gone through them twice, with a day in between: once, so that they hold what is older than
    they are, and again, so that they hold what workers of the release before them have summed up meanwhile.
    """
    return exists().where(UsageRepair.id == walk, UsageRepair.passes >= _PASSES)


def amounts(calls: FromClause) -> list[ColumnElement[Any]]:
    """Build the sums over rows of the ledger, as in `UsageCounters`."""
    call = calls.c

    def count(condition: ColumnElement[bool]) -> ColumnElement[int]:
        return func.count().filter(condition)

    def total(amount: ColumnElement[Any]) -> ColumnElement[Any]:
        return func.coalesce(func.sum(amount), 0)

    sums: dict[str, ColumnElement[Any]] = {
        "calls": func.count(),
        "turns": count((call.attempt == 1) & (call.purpose == "answer")),
        "ok": count(call.status == "ok"),
        "cancelled": count(call.status == "cancelled"),
        "fallback": count((call.status == "ok") & call.is_fallback),
        "cached": count(call.is_cached),
        "estimated": count(call.is_estimated),
        "unpriced": count(call.cost_usd.is_(None)),
        "prompt_tokens": total(call.prompt_tokens),
        "completion_tokens": total(call.completion_tokens),
        "cost_usd": total(call.cost_usd),
        "latency_ms": total(call.latency_ms),
    }
    return [amount.label(name) for name, amount in sums.items()]


def _keys(calls: FromClause) -> list[ColumnElement[Any]]:
    return [quarter(calls.c.created_at).label("quarter"), calls.c.model_requested.label("model"), calls.c.purpose]


def _grouped(keys: Sequence[ColumnElement[Any]], counters: Sequence[ColumnElement[Any]]) -> Select[Any]:
    return select(*keys, *counters).group_by(*(column(key.key) for key in keys if key.key))


def _usage(calls: FromClause) -> Select[Any]:
    return _grouped(_keys(calls), amounts(calls))


def _usage_by_user(calls: FromClause, *keys: ColumnElement[Any]) -> Select[Any]:
    # Whose account has been erased has no sums any more.
    return _grouped([calls.c.user_id, *keys], amounts(calls)).where(calls.c.user_id.is_not(None))


def _usage_by_user_and_quarter(calls: FromClause) -> Select[Any]:
    return _usage_by_user(calls, *_keys(calls))


def _usage_by_user_and_day(calls: FromClause) -> Select[Any]:
    return _usage_by_user(calls, day(calls.c.created_at).label("day"), calls.c.purpose)


def _usage_by_user_and_week(calls: FromClause) -> Select[Any]:
    return _usage_by_user(calls, week(calls.c.created_at).label("week"), calls.c.purpose)


def _times(calls: FromClause) -> Select[Any]:
    # Of answers of models: others took as long as a time limit, a user's patience or a look into the cache.
    times = (
        values(column("ms", Integer), column("latency", Integer), column("first_token", Integer), name="times")
        .data([(calls.c.latency_ms, 1, 0), (calls.c.first_token_ms, 0, 1)])
        .lateral()
    )
    logarithm = func.ln(sql_cast(func.greatest(times.c.ms, 1), Float))
    bucket = sql_cast(func.floor(logarithm / func.ln(sql_cast(BUCKET_WIDTH, Float))), SmallInteger).label("bucket")
    counters = [
        func.sum(times.c.latency).label("latencies"),
        func.sum(times.c.first_token).label("first_tokens"),
    ]
    return (
        _grouped([*_keys(calls), bucket], counters)
        .select_from(calls.join(times, true()))
        .where(calls.c.status == "ok", ~calls.c.is_cached, times.c.ms.is_not(None))
    )


def _errors(calls: FromClause) -> Select[Any]:
    keys = [*_keys(calls), calls.c.error_code]
    return _grouped(keys, [func.count().label("calls")]).where(calls.c.error_code.is_not(None))


USAGE = RollupTable.into(UsageQuarter, _usage)
USAGE_BY_USER = RollupTable.into(UserUsageQuarter, _usage_by_user_and_quarter)
USAGE_BY_USER_AND_DAY = RollupTable.into(UserUsageDay, _usage_by_user_and_day)
USAGE_BY_USER_AND_WEEK = RollupTable.into(UserUsageWeek, _usage_by_user_and_week)
TIMES = RollupTable.into(LatencyQuarter, _times)
ERRORS = RollupTable.into(ErrorQuarter, _errors)
BY_QUARTER = (USAGE, USAGE_BY_USER, TIMES, ERRORS)
BY_DAY = (USAGE_BY_USER_AND_DAY,)
BY_WEEK = (USAGE_BY_USER_AND_WEEK,)
ALL = (*BY_QUARTER, *BY_DAY, *BY_WEEK)
