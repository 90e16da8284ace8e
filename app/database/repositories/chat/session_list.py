"""Lists of a user's sessions: filters, orders, and positions to read on from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVarTuple

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Select, String, any_, cast, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import ChatSession

Ts = TypeVarTuple("Ts")

SessionSort = Literal["updated", "created", "title"]
"""Order of a list: by last use or creation, newest first, or by title."""


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Sessions that a list contains. None: no condition."""

    is_archived: bool = False
    is_pinned: bool | None = None
    tags: Sequence[str] | None = None
    """Sessions with at least one of these tags."""
    ids: Sequence[int] | None = None
    """Internal keys of the sessions that a search has found."""


class SessionPosition(NamedTuple):
    """Position of a session in a list: after all sessions with a smaller key."""

    key: datetime | str
    """Value that the list is sorted by."""
    id: int


class ListedSession(NamedTuple):
    """A session of a list, and its position."""

    session: ChatSession
    position: SessionPosition


_SORT_KEYS: Mapping[SessionSort, ColumnElement[Any]] = {
    "updated": ChatSession.__table__.c.updated_at,
    "created": ChatSession.__table__.c.created_at,
    "title": func.lower(ChatSession.title),
}


async def count(session: AsyncSession, *, user_id: int, criteria: SessionFilter) -> int:
    """Return the number of sessions of the user that match."""
    return await session.scalar(_matching(select(func.count(ChatSession.id)), user_id, criteria)) or 0


async def find_tags(session: AsyncSession, *, user_id: int) -> Sequence[str]:
    """Return the distinct tags of all sessions of the user, in no order."""
    rows = await session.scalars(select(func.unnest(ChatSession.tags)).where(ChatSession.user_id == user_id).distinct())
    return rows.all()


async def read(
    session: AsyncSession,
    *,
    user_id: int,
    criteria: SessionFilter,
    sort: SessionSort,
    limit: int,
    start: SessionPosition | int = 0,
) -> list[ListedSession]:
    """Return up to `limit` sessions of the user, after a position or after a number of sessions."""
    rows = await session.execute(list_statement(user_id, criteria, sort, start).limit(limit))
    return [ListedSession(row.ChatSession, SessionPosition(row.key, row.ChatSession.id)) for row in rows]


def list_statement(
    user_id: int, criteria: SessionFilter, sort: SessionSort, start: SessionPosition | int
) -> Select[*tuple[Any, ...]]:
    """Build the query of `read`, without the limit."""
    key = _SORT_KEYS[sort]
    statement = _matching(select(ChatSession, key.label("key")), user_id, criteria)
    is_ascending = sort == "title"
    statement = statement.order_by(*((key, ChatSession.id) if is_ascending else (key.desc(), ChatSession.id.desc())))
    if isinstance(start, int):
        return statement.offset(start) if start else statement
    position = tuple_(key, ChatSession.id)
    after = tuple_(literal(start.key, key.type), literal(start.id, BigInteger))
    return statement.where(position > after if is_ascending else position < after)


def _matching(statement: Select[*Ts], user_id: int, criteria: SessionFilter) -> Select[*Ts]:
    # Both forms are conditions that the index supports; `IS NOT` is not.
    is_active = ~ChatSession.is_active if criteria.is_archived else ChatSession.is_active.expression
    statement = statement.where(ChatSession.user_id == user_id, is_active)
    if criteria.is_pinned is not None:
        statement = statement.where(ChatSession.is_pinned if criteria.is_pinned else ~ChatSession.is_pinned)
    if criteria.tags is not None:
        tags = cast(list(criteria.tags), ARRAY(String))
        statement = statement.where(ChatSession.tags.op("&&", is_comparison=True)(tags))
    if criteria.ids is not None:
        statement = statement.where(ChatSession.id == any_(literal(list(criteria.ids), ARRAY(BigInteger))))
    return statement
