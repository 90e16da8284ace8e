"""Totals of the overview: all time and two consecutive periods, read by one statement from one snapshot."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import SQLCoreOperations

from app.database.models import ChatMessage, ChatSession, User
from app.database.repositories.analytics.report_columns import UsageMetrics, metric_columns, sum_metrics
from app.database.repositories.usage.exact_usage import usage_by_quarter, was_active

_START, _MIDDLE, _END = (bindparam(f"p_{name}", type_=TIMESTAMP(timezone=True)) for name in ("start", "middle", "end"))
_OTHER, _EARLIER, _LATER = range(3)


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """Totals of one period."""

    users_registered: int
    users_active: int
    """Number of accounts with ledger rows in the period."""
    sessions: int
    """Sessions created in the period and not deleted since. The same applies to messages."""
    messages: int
    usage: UsageMetrics


@dataclass(frozen=True, slots=True)
class OverviewTotals:
    """Totals of all time and of the two periods."""

    generated_at: datetime
    users: int
    users_enabled: int
    sessions: int
    messages: int
    usage: UsageMetrics
    """Of all time."""
    earlier: PeriodTotals
    later: PeriodTotals


def _is_in_earlier_period(moment: SQLCoreOperations[datetime]) -> ColumnElement[bool]:
    return and_(moment >= _START, moment < _MIDDLE)


def _is_in_later_period(moment: SQLCoreOperations[datetime]) -> ColumnElement[bool]:
    return and_(moment >= _MIDDLE, moment < _END)


def _count(*where: SQLCoreOperations[bool]) -> ColumnElement[int]:
    return func.count().filter(*where) if where else func.count()


# Message counts are stored with the sessions. Single messages are counted only for sessions that were active at the
# start or the end of a period.
_LAST_ACTIVITY = func.coalesce(ChatSession.last_message_at, ChatSession.created_at) + literal(timedelta(minutes=1))
"""Time after which a session has no messages. The margin covers statements that started earlier and waited."""


def _is_active_at(edge: ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(ChatSession.created_at < edge, edge <= _LAST_ACTIVITY)


def _lies_within(start: ColumnElement[datetime], end: ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(ChatSession.created_at >= start, end > _LAST_ACTIVITY)


def _message_count(*where: ColumnElement[bool]) -> ColumnElement[int]:
    messages = func.sum(ChatSession.message_count)
    return cast(func.coalesce(messages.filter(*where) if where else messages, 0), BigInteger)


def _totals_statement() -> Select[Any]:
    usage = usage_by_quarter()
    period = case(
        (_is_in_later_period(usage.c.quarter), _LATER), (_is_in_earlier_period(usage.c.quarter), _EARLIER), else_=_OTHER
    )
    sums = select(period.label("period"), *metric_columns(usage)).group_by("period").subquery("sums")
    users = select(
        _count().label("users"),
        _count(User.is_active).label("users_enabled"),
        _count(_is_in_earlier_period(User.created_at)).label("users_registered_earlier"),
        _count(_is_in_later_period(User.created_at)).label("users_registered_later"),
        _count(was_active(User.id, _START, _MIDDLE)).label("users_active_earlier"),
        _count(was_active(User.id, _MIDDLE, _END)).label("users_active_later"),
    ).select_from(User)
    sessions = select(
        _count().label("sessions"),
        _count(_is_in_earlier_period(ChatSession.created_at)).label("sessions_earlier"),
        _count(_is_in_later_period(ChatSession.created_at)).label("sessions_later"),
        _message_count().label("messages"),
        _message_count(_lies_within(_START, _MIDDLE)).label("messages_earlier"),
        _message_count(_lies_within(_MIDDLE, _END)).label("messages_later"),
    )
    cut = (
        select(
            _count(_is_in_earlier_period(ChatMessage.created_at)).label("cut_messages_earlier"),
            _count(_is_in_later_period(ChatMessage.created_at)).label("cut_messages_later"),
        )
        .join(ChatSession, ChatSession.id == ChatMessage.session_id)
        .where(or_(*(_is_active_at(edge) for edge in (_START, _MIDDLE, _END))))
    )
    counts = (
        users.subquery("users_counts"),
        sessions.subquery("sessions_counts"),
        cut.subquery("cut_counts"),
    )
    columns = [column for subquery in counts for column in subquery.c]
    return select(func.now().label("generated_at"), *columns, *sums.c).select_from(
        counts[0].join(counts[1], true()).join(counts[2], true()).outerjoin(sums, true())
    )


_TOTALS = _totals_statement()


async def read_totals(session: AsyncSession, start: datetime, middle: datetime, end: datetime) -> OverviewTotals:
    """Return the totals of all time, of the period from `start` to `middle`, and of the one from there to `end`."""
    rows = (await session.execute(_TOTALS, {"p_start": start, "p_middle": middle, "p_end": end})).all()
    usage = {
        row.period: UsageMetrics(*(getattr(row, name) for name in UsageMetrics._fields))
        for row in rows
        if row.period is not None
    }
    counts = rows[0]

    def period(number: int, suffix: str) -> PeriodTotals:
        return PeriodTotals(
            users_registered=getattr(counts, f"users_registered_{suffix}"),
            users_active=getattr(counts, f"users_active_{suffix}"),
            sessions=getattr(counts, f"sessions_{suffix}"),
            messages=getattr(counts, f"messages_{suffix}") + getattr(counts, f"cut_messages_{suffix}"),
            usage=usage.get(number, UsageMetrics()),
        )

    return OverviewTotals(
        generated_at=counts.generated_at,
        users=counts.users,
        users_enabled=counts.users_enabled,
        sessions=counts.sessions,
        messages=counts.messages,
        usage=sum_metrics(usage.values()),
        earlier=period(_EARLIER, "earlier"),
        later=period(_LATER, "later"),
    )
