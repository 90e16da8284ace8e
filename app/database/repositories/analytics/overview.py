"""How many there are of everything, and how two periods went. One statement, so all figures are of the same moment."""

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
from app.database.repositories.usage.totals import usage_by_quarter, was_active

_START, _MIDDLE, _END = (bindparam(f"p_{name}", type_=TIMESTAMP(timezone=True)) for name in ("start", "middle", "end"))
_OTHER, _EARLIER, _LATER = range(3)


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """What happened in a period."""

    users_registered: int
    users_active: int
    """Had a model asked something."""
    sessions: int
    """Opened, and not deleted since; messages likewise."""
    messages: int
    usage: UsageMetrics


@dataclass(frozen=True, slots=True)
class OverviewTotals:
    """What there is, and the two periods."""

    generated_at: datetime
    users: int
    users_enabled: int
    sessions: int
    messages: int
    usage: UsageMetrics
    """Of all time."""
    earlier: PeriodTotals
    later: PeriodTotals


def _in_earlier(moment: SQLCoreOperations[datetime]) -> ColumnElement[bool]:
    return and_(moment >= _START, moment < _MIDDLE)


def _in_later(moment: SQLCoreOperations[datetime]) -> ColumnElement[bool]:
    return and_(moment >= _MIDDLE, moment < _END)


def _count(*where: SQLCoreOperations[bool]) -> ColumnElement[int]:
    return func.count().filter(*where) if where else func.count()


# Each session knows how many messages it has. They are looked at only where it was going on at an edge of a period.
_LAST = func.coalesce(ChatSession.last_message_at, ChatSession.created_at) + literal(timedelta(minutes=1))
"""After this a session had no message: statements note when they began, and may have waited for each other."""


def _is_cut_by(edge: ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(ChatSession.created_at < edge, edge <= _LAST)


def _is_whole_in(start: ColumnElement[datetime], end: ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(ChatSession.created_at >= start, end > _LAST)


def _messages(*where: ColumnElement[bool]) -> ColumnElement[int]:
    messages = func.sum(ChatSession.message_count)
    return cast(func.coalesce(messages.filter(*where) if where else messages, 0), BigInteger)


def _statement() -> Select[Any]:
    usage = usage_by_quarter()
    period = case((_in_later(usage.c.quarter), _LATER), (_in_earlier(usage.c.quarter), _EARLIER), else_=_OTHER)
    sums = select(period.label("period"), *metric_columns(usage)).group_by("period").subquery("sums")
    users = select(
        _count().label("users"),
        _count(User.is_active).label("users_enabled"),
        _count(_in_earlier(User.created_at)).label("users_registered_earlier"),
        _count(_in_later(User.created_at)).label("users_registered_later"),
        _count(was_active(User.id, _START, _MIDDLE)).label("users_active_earlier"),
        _count(was_active(User.id, _MIDDLE, _END)).label("users_active_later"),
    ).select_from(User)
    sessions = select(
        _count().label("sessions"),
        _count(_in_earlier(ChatSession.created_at)).label("sessions_earlier"),
        _count(_in_later(ChatSession.created_at)).label("sessions_later"),
        _messages().label("messages"),
        _messages(_is_whole_in(_START, _MIDDLE)).label("messages_earlier"),
        _messages(_is_whole_in(_MIDDLE, _END)).label("messages_later"),
    )
    cut = (
        select(
            _count(_in_earlier(ChatMessage.created_at)).label("cut_messages_earlier"),
            _count(_in_later(ChatMessage.created_at)).label("cut_messages_later"),
        )
        .join(ChatSession, ChatSession.id == ChatMessage.session_id)
        .where(or_(*(_is_cut_by(edge) for edge in (_START, _MIDDLE, _END))))
    )
    counts = (
        users.subquery("users_counts"),
        sessions.subquery("sessions_counts"),
        cut.subquery("cut_counts"),
    )
    columns = [one for part in counts for one in part.c]
    return select(func.now().label("generated_at"), *columns, *sums.c).select_from(
        counts[0].join(counts[1], true()).join(counts[2], true()).outerjoin(sums, true())
    )


_STATEMENT = _statement()


async def read_totals(session: AsyncSession, start: datetime, middle: datetime, end: datetime) -> OverviewTotals:
    """Return what there is, and what happened from `start` to `middle` and from there to `end`."""
    rows = (await session.execute(_STATEMENT, {"p_start": start, "p_middle": middle, "p_end": end})).all()
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
