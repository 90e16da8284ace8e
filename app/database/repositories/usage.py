"""What was used and what it cost: the sums by quarter of an hour, and what of the ledger they lack.

The two are read by one statement, and so of the same moment: what the worker is just adding to the sums is either still
pending or in them already.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Insert,
    Integer,
    Select,
    Subquery,
    Text,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    union_all,
    values,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlalchemy.sql.selectable import FromClause

from app.database.models import LlmCall, UsagePending, UsageQuarter, User, UserUsageQuarter

Period = Literal["today", "month", "total"]
"""Days and months begin at midnight in UTC."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over rows of the ledger; see `UsageCounters`."""

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


_COUNTERS = tuple(field.name for field in fields(Usage))
_KEYS = ("quarter", "model", "purpose")
_ORIGIN = text("timestamptz '2000-01-01 00:00:00+00'")


def _sums(calls: FromClause) -> list[ColumnElement[Any]]:
    """Return the counters of rows of the ledger."""
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
    return [sums[name].label(name) for name in _COUNTERS]


def _quarter(time: ColumnElement[datetime]) -> ColumnElement[datetime]:
    """Build the beginning of the quarter of an hour that a time is in. In every time zone days begin with one."""
    return func.date_bin(text("interval '15 minutes'"), time, _ORIGIN, type_=TIMESTAMP(timezone=True))


def _keys(calls: FromClause) -> list[ColumnElement[Any]]:
    return [_quarter(calls.c.created_at).label("quarter"), calls.c.model_requested.label("model"), calls.c.purpose]


def _named(names: Iterable[str]) -> list[ColumnElement[Any]]:
    return [column(name) for name in names]


def by_quarter(user_id: ColumnElement[int] | None = None) -> Subquery:
    """Build the exact usage of everybody or of one user, by quarter of an hour, model and purpose.

    There may be two rows of the same quarter: sum them up.
    """
    summed: type[UsageQuarter | UserUsageQuarter] = UsageQuarter if user_id is None else UserUsageQuarter
    names = [summed.__table__.c[name] for name in (*_KEYS, *_COUNTERS)]
    calls = LlmCall.__table__
    stored = select(*names)
    pending = select(*_keys(calls), *_sums(calls)).join(UsagePending, UsagePending.call_id == calls.c.id)
    if user_id is not None:
        stored = stored.where(UserUsageQuarter.user_id == user_id)
        pending = pending.where(calls.c.user_id == user_id)
    return union_all(stored, pending.group_by(*_named(_KEYS))).subquery("usage")


def summed(usage: Subquery, counter: str, *where: ColumnElement[bool]) -> ColumnElement[Any]:
    """Build the sum of a counter over rows of `by_quarter`."""
    amounts = func.sum(usage.c[counter])
    total = func.coalesce(amounts.filter(*where) if where else amounts, 0)
    return total if counter == "cost_usd" else cast(total, BigInteger)


def was_active(user_id: SQLCoreOperations[int], since: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Build the question whether a user had a model asked since then, to the quarter of an hour."""
    calls = LlmCall.__table__
    pending = select(calls.c.user_id).join(UsagePending, UsagePending.call_id == calls.c.id)
    return or_(
        exists().where(UserUsageQuarter.user_id == user_id, UserUsageQuarter.quarter >= _quarter(since)),
        # Not one look for each user: there are few pending rows, and many users.
        user_id.in_(pending.where(calls.c.created_at >= since)),
    )


def _periods_statement() -> Select[Any]:
    usage = by_quarter(bindparam("p_user_id", type_=BigInteger))
    periods = values(column("name", Text), column("since", TIMESTAMP(timezone=True)), name="periods").data(
        [
            ("today", func.date_trunc("day", func.now(), "UTC")),
            ("month", func.date_trunc("month", func.now(), "UTC")),
            ("total", cast(literal("-infinity"), TIMESTAMP(timezone=True))),
        ]
    )
    return (
        select(periods.c.name, *(summed(usage, name).label(name) for name in _COUNTERS))
        .select_from(periods.outerjoin(usage, usage.c.quarter >= periods.c.since))
        .group_by(periods.c.name)
    )


def _roll_up_statement() -> Select[Any]:
    some = (
        select(UsagePending.call_id)
        .order_by(UsagePending.call_id)
        .limit(bindparam("p_limit", type_=Integer))
        .with_for_update(skip_locked=True)
        .cte("some")
    )
    taken = (
        delete(UsagePending)
        .where(UsagePending.call_id.in_(select(some.c.call_id)))
        .returning(UsagePending.call_id)
        .cte("taken")
    )
    calls = select(LlmCall).join(taken, LlmCall.id == taken.c.call_id).cte("calls")
    # Erasing an account removes its sums: it waits for this lock, or this does not find the account.
    owners = (
        select(User.id)
        .where(User.id.in_(select(calls.c.user_id)))
        .order_by(User.id)
        .with_for_update(key_share=True, read=True)
        .cte("owners")
    )
    of_everybody = select(*_keys(calls), *_sums(calls)).group_by(*_named(_KEYS)).order_by(*_named(_KEYS))
    user_keys = ("user_id", *_KEYS)
    of_users = (
        select(calls.c.user_id, *_keys(calls), *_sums(calls))
        .join(owners, owners.c.id == calls.c.user_id)
        .group_by(*_named(user_keys))
        .order_by(*_named(user_keys))
    )
    return select(func.count(taken.c.call_id)).add_cte(
        _added(UsageQuarter, _KEYS, of_everybody).cte("quarters"),
        _added(UserUsageQuarter, user_keys, of_users).cte("user_quarters"),
    )


def _added(table: type[UsageQuarter | UserUsageQuarter], keys: tuple[str, ...], sums: Select[Any]) -> Insert:
    # In the order of its keys: two that add at once wait for each other in a row, never in a circle.
    added = insert(table).from_select([*keys, *_COUNTERS], sums)
    columns = table.__table__.c
    return added.on_conflict_do_update(
        index_elements=keys, set_={name: columns[name] + added.excluded[name] for name in _COUNTERS}
    )


_PERIODS = _periods_statement()
_ROLL_UP = _roll_up_statement()
_OF_SESSION = select(*_sums(LlmCall.__table__)).where(LlmCall.session_id == bindparam("p_session_id", type_=BigInteger))


async def roll_up(connection: AsyncConnection, *, limit: int) -> int:
    """Add at most `limit` rows of the ledger to the sums, and say how many. All of it happens, or nothing."""
    count: int = (await connection.execute(_ROLL_UP, {"p_limit": limit})).scalar_one()
    return count


async def of_user(session: AsyncSession, user_id: int) -> dict[Period, Usage]:
    """Return what a user has used up to now."""
    rows = await session.execute(_PERIODS, {"p_user_id": user_id})
    return {name: Usage(*sums) for name, *sums in rows}


async def of_session(session: AsyncSession, session_id: int) -> Usage:
    """Return what was used in a session, by its internal key."""
    return Usage(*(await session.execute(_OF_SESSION, {"p_session_id": session_id})).one())
