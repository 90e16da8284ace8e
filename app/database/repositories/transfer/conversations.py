"""Reading of whole conversations of an owner, in batches. Each function executes one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Integer, Select, any_, bindparam, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.database.models import ChatMessage, ChatSession

BATCH_SIZE = 100
"""Number of messages per batch, each of which may be long."""
_PATH_BATCH = 5000
"""Number of ancestors that one statement finds, which then takes less than 0.1 s."""


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session, without its messages."""

    id: int
    title: str
    meta: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    is_archived: bool
    active_seq: int | None
    last_seq: int
    is_pinned: bool = False
    tags: Sequence[str] = ()
    model: str | None = None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message, with the `seq` of its parent."""

    seq: int
    parent_seq: int | None
    role: str
    content: str
    status: str
    timestamp: datetime
    meta: dict[str, Any]


def _sessions(user_id: int) -> Select[Any]:
    columns = (
        ChatSession.id,
        ChatSession.title,
        ChatSession.meta,
        ChatSession.created_at,
        ChatSession.updated_at,
        (~ChatSession.is_active).label("is_archived"),
        ChatSession.active_seq,
        ChatSession.last_seq,
    )
    return select(*columns).where(ChatSession.user_id == user_id)


def _messages(user_id: int, session_id: int) -> Select[Any]:
    parent = aliased(ChatMessage)
    owned = select(ChatSession.id).where(ChatSession.id == session_id, ChatSession.user_id == user_id)
    return (
        select(
            ChatMessage.seq,
            parent.seq.label("parent_seq"),
            ChatMessage.role,
            ChatMessage.content,
            ChatMessage.status,
            ChatMessage.updated_at,
            ChatMessage.meta,
        )
        .outerjoin(parent, ChatMessage.parent_id == parent.id)
        .where(ChatMessage.session_id == owned.scalar_subquery())
    )


async def find_session(
    connection: AsyncConnection, *, user_id: int, session_uuid: UUID | None = None, session_id: int | None = None
) -> StoredSession | None:
    """Return a session of the user by its public id or its internal key. None: there is none."""
    statement = _sessions(user_id)
    if session_uuid is not None:
        statement = statement.where(ChatSession.uuid == session_uuid)
    else:
        statement = statement.where(ChatSession.id == session_id)
    row = (await connection.execute(statement)).one_or_none()
    return StoredSession(**row._asdict()) if row else None


async def list_session_ids(connection: AsyncConnection, *, user_id: int) -> Sequence[int]:
    """Return the internal keys of all sessions of the user, in the order of their creation."""
    rows = await connection.scalars(
        select(ChatSession.id).where(ChatSession.user_id == user_id).order_by(ChatSession.id)
    )
    return rows.all()


async def read_messages(
    connection: AsyncConnection, *, user_id: int, session_id: int, after_seq: int, upto_seq: int
) -> list[StoredMessage]:
    """Return the next messages of all branches, in the order of their creation. The last batch is not full."""
    statement = (
        _messages(user_id, session_id)
        .where(ChatMessage.seq > after_seq, ChatMessage.seq <= upto_seq)
        .order_by(ChatMessage.seq)
        .limit(BATCH_SIZE)
    )
    return [StoredMessage(*row) for row in await connection.execute(statement)]


async def read_messages_by_id(
    connection: AsyncConnection, *, user_id: int, session_id: int, ids: Sequence[int]
) -> list[StoredMessage]:
    """Return messages of a session by their internal keys, in the order of their creation."""
    statement = _messages(user_id, session_id).where(_is_one_of(ids)).order_by(ChatMessage.seq)
    return [StoredMessage(*row) for row in await connection.execute(statement)]


async def find_last_of_branch(
    connection: AsyncConnection, *, session_id: int, active_seq: int | None, message_uuid: UUID | None = None
) -> int | None:
    """Return the internal key of the last message of the active branch, or of a message by its public id.

    None: there is none. The caller must have checked the owner.
    """
    statement = select(ChatMessage.id).where(ChatMessage.session_id == session_id)
    if message_uuid is not None:
        statement = statement.where(ChatMessage.uuid == message_uuid)
    elif active_seq is not None:
        statement = statement.where(ChatMessage.seq == active_seq)
    else:
        statement = statement.order_by(ChatMessage.seq.desc()).limit(1)
    return await connection.scalar(statement)


async def list_ancestors(connection: AsyncConnection, message_id: int) -> list[int]:
    """Return the internal keys of a message and of its next ancestors, upwards. An incomplete batch ends at the top."""
    start = (
        select(ChatMessage.id, ChatMessage.parent_id, literal(1, Integer).label("step"))
        .where(ChatMessage.id == bindparam("p_message_id", type_=BigInteger))
        .cte("path", recursive=True)
    )
    path = start.union_all(
        select(ChatMessage.id, ChatMessage.parent_id, start.c.step + 1)
        .join(start, ChatMessage.id == start.c.parent_id)
        .where(start.c.step < _PATH_BATCH)
    )
    rows = await connection.scalars(select(path.c.id).order_by(path.c.step), {"p_message_id": message_id})
    return list(rows)


def _is_one_of(ids: Sequence[int]) -> ColumnElement[bool]:
    return ChatMessage.id == any_(literal(list(ids), ARRAY(BigInteger)))
