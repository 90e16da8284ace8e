"""Definitions of the roll-up tables: their keys, and the aggregation of ledger rows into their counters.

Ledger rows that no roll-up contains yet are pending. Roll-ups and pending rows are read by one statement, and therefore
from one snapshot, in which each ledger row is either pending or rolled up.
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
    ProviderErrorQuarter,
    ProviderLatencyQuarter,
    ProviderUsageQuarter,
    UsagePending,
    UsageQuarter,
    UsageRepair,
    UserUsageDay,
    UserUsageQuarter,
    UserUsageWeek,
)

DAILY_RECONCILIATION_ID, WEEKLY_RECONCILIATION_ID, PROVIDER_RECONCILIATION_ID = 2, 3, 4
"""Keys of the rows in `usage_repair` that store the progress of reconciliation: by day, by week and by provider."""
_REQUIRED_PASSES = 2
BUCKET_WIDTH = 1.05
"""Ratio of the bounds of a histogram bucket. After a change all stored histograms must be rebuilt."""

QUARTER: ColumnElement[timedelta] = literal_column("interval '15 minutes'", Interval)
_DAY: ColumnElement[timedelta] = literal_column("interval '1 day'", Interval)
_HALF_DAY: ColumnElement[timedelta] = literal_column("interval '12 hours'", Interval)
_WEEK: ColumnElement[timedelta] = literal_column("interval '7 days'", Interval)
_HALF_WEEK: ColumnElement[timedelta] = literal_column("interval '84 hours'", Interval)
_MICROSECOND: ColumnElement[timedelta] = literal_column("interval '1 microsecond'", Interval)
_MONDAY = text("timestamptz '2000-01-03 00:00:00+00'")

Condition = Callable[[FromClause], ColumnElement[bool]]
"""Filter that uses only columns which the roll-up table and the ledger have in common."""


@dataclass(frozen=True, slots=True, eq=False)
class RollupTable:
    """A roll-up table and the aggregation that fills it."""

    table: Table
    keys: tuple[str, ...]
    counters: tuple[str, ...]
    aggregate: Callable[[FromClause], Select[Any]]
    """Builds the aggregation of ledger rows into keys and counters, as labelled columns."""

    @property
    def time(self) -> ColumnElement[datetime]:
        """The key column that holds the start of the period."""
        (name,) = {"quarter", "day", "week"}.intersection(self.keys)
        return self.table.c[name]

    @property
    def is_by_user(self) -> bool:
        """Whether rows belong to accounts, and are deleted with them."""
        return "user_id" in self.keys

    @classmethod
    def for_model(cls, model: type[Base], aggregate: Callable[[FromClause], Select[Any]]) -> "RollupTable":
        """Describe the table of `model`: the primary key holds the keys, all other columns are counters."""
        table = cast("Table", model.__table__)
        keys = tuple(table.primary_key.columns.keys())
        return cls(table, keys, tuple(name for name in table.c.keys() if name not in keys), aggregate)  # noqa: SIM118 - iterating yields columns

    def with_pending(self, where: Condition | None = None) -> CompoundSelect[Any]:
        """Build the current rows: those of the table, and those aggregated from pending ledger rows.

        A key may occur in both parts: the caller must add the counters.
        """
        columns = (*self.keys, *self.counters)
        pending = select(LlmCall.__table__).join(UsagePending, UsagePending.call_id == LlmCall.id)
        stored = select(*(self.table.c[name] for name in columns))
        if where is not None:
            # Filter each part: the planner does not always push a condition down into both.
            stored, pending = stored.where(where(self.table)), pending.where(where(LlmCall.__table__))
        return union_all(stored, self.aggregate_rows(pending.subquery("calls")))

    def aggregate_rows(self, calls: FromClause) -> Select[Any]:
        """Build the aggregation of ledger rows, with the columns in the order of keys and counters."""
        aggregated = self.aggregate(calls).subquery("aggregated")
        return select(*(aggregated.c[name] for name in (*self.keys, *self.counters)))

    def upsert(self, rows: FromClause) -> Insert:
        """Build the statement that adds rows with the columns of the table to it."""
        columns = (*self.keys, *self.counters)
        # Concurrent statements lock rows in the order of the keys, so they cannot deadlock.
        ordered = select(*(rows.c[name] for name in columns)).order_by(*(rows.c[key] for key in self.keys))
        added = insert(self.table).from_select(columns, ordered)
        return added.on_conflict_do_update(
            index_elements=self.keys, set_={name: self.table.c[name] + added.excluded[name] for name in self.counters}
        )


def start_of_quarter(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the start of the quarter-hour that contains `time`. In all time zones days start at a quarter-hour."""
    return _start_of_period(QUARTER, time)


def start_of_day(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the start of the UTC day that contains `time`."""
    return _start_of_period(_DAY, time)


def start_of_week(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the start of the UTC week that contains `time`, a Monday."""
    return _start_of_period(_WEEK, time)


def next_day(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the first start of a UTC day at or after `time`."""
    return start_of_day(time + _DAY - _MICROSECOND)


def next_week(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the first start of a UTC week at or after `time`."""
    return start_of_week(time + _WEEK - _MICROSECOND)


def nearest_day(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the start of a UTC day that is nearest to `time`."""
    return start_of_day(time + _HALF_DAY)


def nearest_week(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the start of a UTC week that is nearest to `time`."""
    return start_of_week(time + _HALF_WEEK)


def _start_of_period(length: ColumnElement[timedelta], time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    return func.date_bin(length, time, _MONDAY, type_=TIMESTAMP(timezone=True))


def is_complete(reconciliation_id: int) -> ColumnElement[bool]:
    """Build the condition that the daily or the weekly roll-ups can be read.

    Two complete reconciliation passes are required. The first adds ledger rows that are older than the roll-up table.
    The second, a day later, adds those that workers of the previous release rolled up during the upgrade.
    """
    return exists().where(UsageRepair.id == reconciliation_id, UsageRepair.passes >= _REQUIRED_PASSES)


def usage_counters(calls: FromClause) -> list[ColumnElement[Any]]:
    """Build the counters of `UsageCounters` as aggregates of ledger rows."""
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


def _usage_keys(calls: FromClause) -> list[ColumnElement[Any]]:
    return [
        start_of_quarter(calls.c.created_at).label("quarter"),
        calls.c.model_requested.label("model"),
        calls.c.purpose,
    ]


def _provider_keys(calls: FromClause) -> list[ColumnElement[Any]]:
    return [calls.c.provider, *_usage_keys(calls)]


def _grouped(keys: Sequence[ColumnElement[Any]], counters: Sequence[ColumnElement[Any]]) -> Select[Any]:
    return select(*keys, *counters).group_by(*(column(key.key) for key in keys if key.key))


def _aggregate_usage(calls: FromClause) -> Select[Any]:
    return _grouped(_usage_keys(calls), usage_counters(calls))


def _aggregate_user_usage(calls: FromClause, *keys: ColumnElement[Any]) -> Select[Any]:
    # Ledger rows of erased accounts have no user.
    return _grouped([calls.c.user_id, *keys], usage_counters(calls)).where(calls.c.user_id.is_not(None))


def _aggregate_user_usage_by_quarter(calls: FromClause) -> Select[Any]:
    return _aggregate_user_usage(calls, *_usage_keys(calls))


def _aggregate_user_usage_by_day(calls: FromClause) -> Select[Any]:
    return _aggregate_user_usage(calls, start_of_day(calls.c.created_at).label("day"), calls.c.purpose)


def _aggregate_user_usage_by_week(calls: FromClause) -> Select[Any]:
    return _aggregate_user_usage(calls, start_of_week(calls.c.created_at).label("week"), calls.c.purpose)


def _aggregate_usage_by_provider(calls: FromClause) -> Select[Any]:
    return _grouped(_provider_keys(calls), usage_counters(calls)).where(calls.c.provider.is_not(None))


def _aggregate_latencies(calls: FromClause) -> Select[Any]:
    return _aggregate_latencies_by(_usage_keys(calls), calls)


def _aggregate_latencies_by_provider(calls: FromClause) -> Select[Any]:
    return _aggregate_latencies_by(_provider_keys(calls), calls).where(calls.c.provider.is_not(None))


def _aggregate_latencies_by(keys: Sequence[ColumnElement[Any]], calls: FromClause) -> Select[Any]:
    # Only successful calls of a model are measured: errors end at a timeout, cancelled answers when the user stops, and
    # cached ones after a lookup.
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
        _grouped([*keys, bucket], counters)
        .select_from(calls.join(times, true()))
        .where(calls.c.status == "ok", ~calls.c.is_cached, times.c.ms.is_not(None))
    )


def _aggregate_errors(calls: FromClause) -> Select[Any]:
    return _aggregate_errors_by(_usage_keys(calls), calls)


def _aggregate_errors_by_provider(calls: FromClause) -> Select[Any]:
    return _aggregate_errors_by(_provider_keys(calls), calls).where(calls.c.provider.is_not(None))


def _aggregate_errors_by(keys: Sequence[ColumnElement[Any]], calls: FromClause) -> Select[Any]:
    counted = _grouped([*keys, calls.c.error_code], [func.count().label("calls")])
    return counted.where(calls.c.error_code.is_not(None))


USAGE = RollupTable.for_model(UsageQuarter, _aggregate_usage)
USAGE_BY_USER = RollupTable.for_model(UserUsageQuarter, _aggregate_user_usage_by_quarter)
USAGE_BY_USER_AND_DAY = RollupTable.for_model(UserUsageDay, _aggregate_user_usage_by_day)
USAGE_BY_USER_AND_WEEK = RollupTable.for_model(UserUsageWeek, _aggregate_user_usage_by_week)
LATENCIES = RollupTable.for_model(LatencyQuarter, _aggregate_latencies)
ERRORS = RollupTable.for_model(ErrorQuarter, _aggregate_errors)
USAGE_BY_PROVIDER = RollupTable.for_model(ProviderUsageQuarter, _aggregate_usage_by_provider)
LATENCIES_BY_PROVIDER = RollupTable.for_model(ProviderLatencyQuarter, _aggregate_latencies_by_provider)
ERRORS_BY_PROVIDER = RollupTable.for_model(ProviderErrorQuarter, _aggregate_errors_by_provider)
BY_QUARTER = (USAGE, USAGE_BY_USER, LATENCIES, ERRORS)
BY_DAY = (USAGE_BY_USER_AND_DAY,)
BY_WEEK = (USAGE_BY_USER_AND_WEEK,)
BY_PROVIDER = (USAGE_BY_PROVIDER, LATENCIES_BY_PROVIDER, ERRORS_BY_PROVIDER)
ALL = (*BY_QUARTER, *BY_DAY, *BY_WEEK, *BY_PROVIDER)
