"""Columns and subqueries of exact usage: roll-ups and pending ledger rows together."""

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Subquery,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.sql.elements import SQLCoreOperations

from app.database.models import LlmCall, UsagePending, UserUsageDay, UserUsageQuarter
from app.database.repositories.usage import rollup_tables
from app.database.repositories.usage.rollup_tables import RollupTable


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Totals of ledger rows, with the counters of `UsageCounters`."""

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


UNKNOWN_PROVIDER = ""
"""Name in reports of the provider of calls whose provider is not known."""
COUNTERS = tuple(field.name for field in fields(UsageTotals))
"""Names of the counters, in the order of `UsageTotals`."""


def usage_by_quarter(user_id: ColumnElement[int] | None = None) -> Subquery:
    """Build the current usage of all accounts or of one, by quarter-hour, model and purpose.

    A key may occur twice: the caller must add the counters.
    """
    if user_id is None:
        return rollup_tables.USAGE.with_pending().subquery("usage")
    return rollup_tables.USAGE_BY_USER.with_pending(lambda rows: rows.c.user_id == user_id).subquery("usage")


def rows_of_provider(table: RollupTable, provider: ColumnElement[str]) -> Subquery:
    """Build the current rows of one provider in a table of `rollup_tables.BY_PROVIDER`.

    A key may occur twice: the caller must add the counters.
    """
    return table.with_pending(lambda rows: rows.c.provider == provider).subquery("of_provider")


def rows_by_provider(table: RollupTable, all_providers: RollupTable) -> Subquery:
    """Build the current rows of a table of `rollup_tables.BY_PROVIDER`, and the rest of `all_providers`.

    The rest has the provider `UNKNOWN_PROVIDER`. It is the difference between the two tables: the calls whose provider
    is not known, and those that `table` does not contain yet. The sum is therefore that of `all_providers`.

    A key may occur several times: the caller must add the counters and ignore groups whose sum is 0.
    """
    known, everything = table.with_pending().subquery("known"), all_providers.with_pending().subquery("everything")
    keys = [name for name in table.keys if name != "provider"]
    unknown = literal(UNKNOWN_PROVIDER).label("provider")
    return union_all(
        select(known.c.provider, *(known.c[name] for name in (*keys, *table.counters))),
        select(unknown, *(everything.c[name] for name in (*keys, *table.counters))),
        select(unknown, *(known.c[name] for name in keys), *((-known.c[name]).label(name) for name in table.counters)),
    ).subquery("by_provider")


def errors_by_quarter() -> Subquery:
    """Build the number of failed calls by quarter-hour, model, purpose and `error_code`.

    A key may occur twice: the caller must add the counters.
    """
    return rollup_tables.ERRORS.with_pending().subquery("errors")


def sum_counter(usage: Subquery, counter: str, *where: ColumnElement[bool]) -> ColumnElement[Any]:
    """Build the sum of a counter of `usage_by_quarter`, over the rows that match `where`; 0 without rows."""
    amounts = func.sum(usage.c[counter])
    total = func.coalesce(amounts.filter(*where) if where else amounts, 0)
    return total if counter == "cost_usd" else cast(total, BigInteger)


def was_active(
    user_id: SQLCoreOperations[int], since: ColumnElement[datetime], until: ColumnElement[datetime]
) -> ColumnElement[bool]:
    """Build the condition that a user has ledger rows from `since` until `until`, both full quarter-hours."""
    calls, days, quarters = LlmCall.__table__, UserUsageDay, UserUsageQuarter
    pending = select(calls.c.user_id).join(UsagePending, UsagePending.call_id == calls.c.id)
    return or_(
        # Any daily row is sufficient, even if the daily roll-ups are incomplete. These few rows find most active users.
        exists().where(
            days.user_id == user_id,
            days.day >= rollup_tables.next_day(since),
            days.day < rollup_tables.start_of_day(until),
        ),
        exists().where(quarters.user_id == user_id, quarters.quarter >= since, quarters.quarter < until),
        # Uncorrelated, so that the few pending rows are read once and not once for each user.
        user_id.in_(pending.where(calls.c.created_at >= since, calls.c.created_at < until)),
    )
