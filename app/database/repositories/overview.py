"""How many there are of everything, and how two periods went. One statement, so all figures are of the same moment."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TIMESTAMP, BigInteger, ColumnElement, Select, and_, bindparam, case, cast, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.elements import SQLCoreOperations

from app.database.models import ChatMessage, ChatSession, User
from app.database.repositories.analytics import FIGURES, Figures, figures_of
from app.database.repositories.usage import by_quarter, was_active

_START, _MIDDLE, _END = (bindparam(f"p_{name}", type_=TIMESTAMP(timezone=True)) for name in ("start", "middle", "end"))
_OTHER, _EARLIER, _LATER = range(3)


@dataclass(frozen=True, slots=True)
class Period:
    """What happened in a period."""

    users_registered: int
    users_active: int
    """Had a model asked something."""
    sessions: int
    """Opened, and not deleted since; messages likewise."""
    messages: int
    usage: Figures


@dataclass(frozen=True, slots=True)
class Overview:
    """What there is, and the two periods."""

    generated_at: datetime
    users: int
    users_enabled: int
    sessions: int
    messages: int
    usage: Figures
    """Of all time."""
    earlier: Period
    later: Period


def _in_earlier(moment: SQLCoreOperations[datetime]) -> ColumnElement[bool]:
    return and_(moment >= _START, moment < _MIDDLE)


def _in_later(moment: SQLCoreOperations[datetime]) -> ColumnElement[bool]:
    return and_(moment >= _MIDDLE, moment < _END)


def _count(*where: SQLCoreOperations[bool]) -> ColumnElement[int]:
    return func.count().filter(*where) if where else func.count()


def _statement() -> Select[Any]:
    usage = by_quarter()
    period = case((_in_later(usage.c.quarter), _LATER), (_in_earlier(usage.c.quarter), _EARLIER), else_=_OTHER)
    sums = select(period.label("period"), *figures_of(usage)).group_by("period").subquery("sums")
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
        # As each session counts its own, so that nobody has to count all of them.
        cast(func.coalesce(func.sum(ChatSession.message_count), 0), BigInteger).label("messages"),
        _count(_in_earlier(ChatSession.created_at)).label("sessions_earlier"),
        _count(_in_later(ChatSession.created_at)).label("sessions_later"),
    )
    messages = select(
        _count(_in_earlier(ChatMessage.created_at)).label("messages_earlier"),
        _count(_in_later(ChatMessage.created_at)).label("messages_later"),
    ).where(ChatMessage.created_at >= _START, ChatMessage.created_at < _END)
    counts = (
        users.subquery("users_counts"),
        sessions.subquery("sessions_counts"),
        messages.subquery("messages_counts"),
    )
    columns = [one for part in counts for one in part.c]
    return select(func.now().label("generated_at"), *columns, *sums.c).select_from(
        counts[0].join(counts[1], true()).join(counts[2], true()).outerjoin(sums, true())
    )


_STATEMENT = _statement()


async def read(session: AsyncSession, start: datetime, middle: datetime, end: datetime) -> Overview:
    """Return what there is, and what happened from `start` to `middle` and from there to `end`."""
    rows = (await session.execute(_STATEMENT, {"p_start": start, "p_middle": middle, "p_end": end})).all()
    usage = {row.period: Figures(*(getattr(row, name) for name in FIGURES)) for row in rows if row.period is not None}
    counts = rows[0]

    def period(number: int, suffix: str) -> Period:
        return Period(
            users_registered=getattr(counts, f"users_registered_{suffix}"),
            users_active=getattr(counts, f"users_active_{suffix}"),
            sessions=getattr(counts, f"sessions_{suffix}"),
            messages=getattr(counts, f"messages_{suffix}"),
            usage=usage.get(number, Figures()),
        )

    return Overview(
        generated_at=counts.generated_at,
        users=counts.users,
        users_enabled=counts.users_enabled,
        sessions=counts.sessions,
        messages=counts.messages,
        usage=sum(usage.values(), Figures()),
        earlier=period(_EARLIER, "earlier"),
        later=period(_LATER, "later"),
    )
