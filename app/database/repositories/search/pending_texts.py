"""Queue of texts to index: those that were written, or changed, since they were indexed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    any_,
    bindparam,
    case,
    func,
    select,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import ChatMessage, ChatSession, SearchOwner, SearchPending
from app.database.repositories.turns.turn_sql import IS_ACTIVE

_RECENT_SESSIONS: Final = 50
"""Number of recently used sessions of a user whose queued texts a search finds."""


class PendingText(NamedTuple):
    """A queued text. The last four values are None if the message or session was deleted."""

    id: int
    session_id: int
    message_id: int | None
    user_id: int | None
    text: str | None
    digest: str | None
    """Digest of the text, by which `store` notices that it was changed since."""
    created_at: datetime | None


class UserState(NamedTuple):
    """What a search needs to know about the index of a user."""

    documents: int
    """Number of documents, including deleted ones."""
    pending: list[int]
    """Keys of queued texts of the user, newest first."""


INDEXED_CONTENT = func.left(ChatMessage.content, bindparam("p_characters", type_=Integer))
"""The part of a message that is indexed."""

_LIMIT = bindparam("p_limit", type_=Integer)
_IDS = bindparam("p_ids", type_=ARRAY(BigInteger))


def _read_statement(condition: ColumnElement[bool]) -> Select[Any]:
    is_title = SearchPending.message_id.is_(None)
    text = case((is_title, ChatSession.title), else_=INDEXED_CONTENT)
    return (
        select(
            SearchPending.id,
            SearchPending.session_id,
            SearchPending.message_id,
            ChatSession.user_id,
            text,
            func.md5(text),
            case((is_title, ChatSession.created_at), else_=ChatMessage.created_at),
        )
        .outerjoin(ChatSession, ChatSession.id == SearchPending.session_id)
        .outerjoin(ChatMessage, (ChatMessage.id == SearchPending.message_id) & ~IS_ACTIVE)
        .where(condition)
        .order_by(SearchPending.id)
    )


_READ_OLDEST = _read_statement(
    SearchPending.id
    == any_(func.array(select(SearchPending.id).order_by(SearchPending.id).limit(_LIMIT).scalar_subquery()))
)
_READ = _read_statement(SearchPending.id == any_(_IDS))


def _state_statement() -> Select[Any]:
    user_id = bindparam("p_user_id", type_=BigInteger)
    # Two selects, because the index of lists has `is_active` before the time.
    recent = union_all(
        *(
            select(
                select(ChatSession.id)
                .where(ChatSession.user_id == user_id, ChatSession.is_active.is_(is_active))
                .order_by(ChatSession.updated_at.desc(), ChatSession.id.desc())
                .limit(_RECENT_SESSIONS)
                .subquery()
            )
            for is_active in (True, False)
        )
    ).subquery("recent")
    pending = (
        select(SearchPending.id)
        .join(recent, recent.c.id == SearchPending.session_id)
        .order_by(SearchPending.id.desc())
        .limit(_LIMIT)
    )
    documents = select(SearchOwner.documents).where(SearchOwner.user_id == user_id)
    return select(func.coalesce(documents.scalar_subquery(), 0), func.array(pending.scalar_subquery()))


_STATE = _state_statement()


async def read_state(connection: AsyncConnection, user_id: int, *, limit: int) -> UserState:
    """Return the state of the user's index, with at most `limit` queued texts."""
    return UserState(*(await connection.execute(_STATE, {"p_user_id": user_id, "p_limit": limit})).one())


async def read_oldest(connection: AsyncConnection, *, limit: int, characters: int) -> list[PendingText]:
    """Return the first `limit` queued texts of all users, each up to its first `characters`."""
    parameters = {"p_limit": limit, "p_characters": characters}
    return [PendingText(*row) for row in await connection.execute(_READ_OLDEST, parameters)]


async def read(connection: AsyncConnection, ids: Sequence[int], *, characters: int) -> list[PendingText]:
    """Return queued texts by their keys, each up to its first `characters`."""
    parameters = {"p_ids": list(ids), "p_characters": characters}
    return [PendingText(*row) for row in await connection.execute(_READ, parameters)]
