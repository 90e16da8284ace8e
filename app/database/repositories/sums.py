"""What is summed up of the ledger, and how: one statement adds to the sums, and the others read them, by this.

What the sums lack is pending. The two are read by one statement, and so of the same moment: what the worker is just
adding to the sums is either still pending or in them already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    TIMESTAMP,
    ColumnElement,
    CompoundSelect,
    Float,
    FromClause,
    Integer,
    Select,
    SmallInteger,
    Table,
    column,
    exists,
    func,
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
)

WALK_OF_DAYS = 2
"""The row in `usage_repair` that says how far sums by day have been compared."""
_PASSES = 2
BUCKET_WIDTH = 1.05
"""Times are counted in buckets, each so many times as long as the one before. Another width needs all counted anew."""

_QUARTER = text("interval '15 minutes'")
_DAY = text("interval '1 day'")
_ORIGIN = text("timestamptz '2000-01-01 00:00:00+00'")

Condition = Callable[[FromClause], ColumnElement[bool]]
"""What holds of rows of a table of sums, and of rows of the ledger, by a column of both."""


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """One table of sums."""

    table: Table
    keys: tuple[str, ...]
    counters: tuple[str, ...]
    of: Callable[[FromClause], Select[Any]]
    """Builds the sums of rows of the ledger: what the table holds of them, or will."""

    @property
    def time(self) -> ColumnElement[datetime]:
        """The column that says when."""
        return self.table.c["day" if "day" in self.keys else "quarter"]

    @property
    def is_by_user(self) -> bool:
        """Whether they are of accounts, and go with them."""
        return "user_id" in self.keys

    @classmethod
    def into(cls, model: type[Base], of: Callable[[FromClause], Select[Any]]) -> "Sums":
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
    return func.date_bin(_QUARTER, time, _ORIGIN, type_=TIMESTAMP(timezone=True))


def day(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the beginning of the day of UTC that a time is in."""
    return func.date_bin(_DAY, time, _ORIGIN, type_=TIMESTAMP(timezone=True))


def days_are_complete() -> ColumnElement[bool]:
    """Build the question whether sums by day can be read.

    The worker has to have gone through them twice, with a day in between: once, so that they hold what is older than
    they are, and again, so that they hold what workers of the release before them have summed up meanwhile.
    """
    return exists().where(UsageRepair.id == WALK_OF_DAYS, UsageRepair.passes >= _PASSES)


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


def _usage_by_user(calls: FromClause) -> Select[Any]:
    # Whose account has been erased has no sums any more.
    return _grouped([calls.c.user_id, *_keys(calls)], amounts(calls)).where(calls.c.user_id.is_not(None))


def _usage_by_user_and_day(calls: FromClause) -> Select[Any]:
    keys = [calls.c.user_id, day(calls.c.created_at).label("day"), calls.c.purpose]
    return _grouped(keys, amounts(calls)).where(calls.c.user_id.is_not(None))


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


USAGE = Sums.into(UsageQuarter, _usage)
USAGE_BY_USER = Sums.into(UserUsageQuarter, _usage_by_user)
USAGE_BY_USER_AND_DAY = Sums.into(UserUsageDay, _usage_by_user_and_day)
TIMES = Sums.into(LatencyQuarter, _times)
ERRORS = Sums.into(ErrorQuarter, _errors)
BY_QUARTER = (USAGE, USAGE_BY_USER, TIMES, ERRORS)
BY_DAY = (USAGE_BY_USER_AND_DAY,)
ALL = (*BY_QUARTER, *BY_DAY)
