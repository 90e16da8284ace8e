"""Reading of whole conversations of an owner, in batches. Each function executes one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Integer, Select, any_, bindparam, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute, aliased

from app.database.models import ChatMessage, ChatSession
from app.database.models.chat.chat_session import TitleSource
from app.database.repositories.turns.turn_sql import LEAF_SEQ

BATCH_SIZE = 100
"""Maximum number of messages per batch."""
BATCH_BYTES = 2_000_000
"""Maximum size of their texts in UTF-8, unless a single message is larger."""
_PATH_BATCH = 5000
"""Number of ancestors that one statement finds, which then takes less than 0.1 s."""


class MessageKey(NamedTuple):
    """Position of a message, and its internal key."""

    seq: int
    id: int
    parent_id: int | None
    size: int
    """Size of the text in bytes of UTF-8."""


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
    message_count: int
    title_source: TitleSource
    is_pinned: bool
    tags: Sequence[str]
    model: str | None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message, with the `seq` of its parent."""

    session_id: int
    seq: int
    parent_seq: int | None
    role: str
    content: str
    status: str
    timestamp: datetime
    meta: dict[str, Any]


TEXT_SIZE = func.octet_length(ChatMessage.content)
"""Size of the text of a message in bytes. PostgreSQL knows it without reading the text."""
MESSAGE_KEY = (ChatMessage.seq, ChatMessage.id, ChatMessage.parent_id, TEXT_SIZE.label("size"))
"""Columns of `MessageKey`."""


def _sessions(user_id: int) -> Select[Any]:
    columns = (
        ChatSession.id,
        ChatSession.title,
        ChatSession.meta.label("meta"),
        ChatSession.created_at,
        ChatSession.updated_at,
        (~ChatSession.is_active).label("is_archived"),
        ChatSession.active_seq,
        ChatSession.last_seq,
        ChatSession.message_count,
        ChatSession.title_source,
        ChatSession.is_pinned,
        ChatSession.tags,
        ChatSession.model,
    )
    return select(*columns).where(ChatSession.user_id == user_id)


def _messages(user_id: int, message: type[ChatMessage] = ChatMessage) -> Select[Any]:
    parent = aliased(ChatMessage)
    return (
        select(
            message.session_id,
            message.seq,
            parent.seq.label("parent_seq"),
            message.role,
            message.content,
            message.status,
            message.updated_at,
            message.meta,
        )
        .outerjoin(parent, message.parent_id == parent.id)
        .join(ChatSession, message.session_id == ChatSession.id)
        .where(ChatSession.user_id == user_id)
    )


async def find_session(connection: AsyncConnection, *, user_id: int, session_uuid: UUID) -> StoredSession | None:
    """Return a session of the user. None: there is none."""
    row = (await connection.execute(_sessions(user_id).where(ChatSession.uuid == session_uuid))).one_or_none()
    return StoredSession(**row._asdict()) if row else None


async def read_sessions(connection: AsyncConnection, *, user_id: int, ids: Sequence[int]) -> list[StoredSession]:
    """Return sessions of the user by their internal keys, in the order of their creation."""
    statement = _sessions(user_id).where(_is_one_of(ChatSession.id, ids)).order_by(ChatSession.id)
    return [StoredSession(**row._asdict()) for row in await connection.execute(statement)]


async def list_session_ids(connection: AsyncConnection, *, user_id: int) -> Sequence[int]:
    """Return the internal keys of all sessions of the user, in the order of their creation."""
    rows = await connection.scalars(
        select(ChatSession.id).where(ChatSession.user_id == user_id).order_by(ChatSession.id)
    )
    return rows.all()


async def read_messages(
    connection: AsyncConnection, *, user_id: int, session_id: int, after_seq: int, upto_seq: int
) -> list[StoredMessage]:
    """Return the next messages of all branches, in the order of their creation. Empty: there are no others."""
    following = (
        select(ChatMessage.id, TEXT_SIZE.label("size"), ChatMessage.seq)
        .where(ChatMessage.session_id == session_id, ChatMessage.seq > after_seq, ChatMessage.seq <= upto_seq)
        .order_by(ChatMessage.seq)
        .limit(BATCH_SIZE)
        .subquery("following")
    )
    before = func.sum(following.c.size).over(order_by=following.c.seq) - following.c.size
    batch = select(following.c.id, before.label("size_before")).subquery("batch")
    statement = (
        _messages(user_id)
        .join(batch, batch.c.id == ChatMessage.id)
        .where(or_(batch.c.size_before == 0, batch.c.size_before + TEXT_SIZE <= BATCH_BYTES))
        .order_by(ChatMessage.seq)
    )
    return [StoredMessage(*row) for row in await connection.execute(statement)]


async def text_sizes(connection: AsyncConnection, session_ids: Sequence[int]) -> dict[int, int]:
    """Return the size of the texts of short sessions in bytes. The caller must have checked the owner."""
    statement = (
        select(ChatMessage.session_id, func.sum(TEXT_SIZE))
        .where(_is_one_of(ChatMessage.session_id, session_ids))
        .group_by(ChatMessage.session_id)
    )
    found = {session_id: int(size) for session_id, size in await connection.execute(statement)}
    return dict.fromkeys(session_ids, 0) | found


async def read_all_messages(
    connection: AsyncConnection, *, user_id: int, session_ids: Sequence[int]
) -> list[StoredMessage]:
    """Return the messages of short sessions, each in the order of their creation."""
    statement = (
        _messages(user_id)
        .where(_is_one_of(ChatMessage.session_id, session_ids))
        .order_by(ChatMessage.session_id, ChatMessage.seq)
    )
    return [StoredMessage(*row) for row in await connection.execute(statement)]


async def read_messages_by_id(
    connection: AsyncConnection, *, user_id: int, session_id: int, ids: Sequence[int]
) -> list[StoredMessage]:
    """Return messages of a session by their internal keys, in the order of their creation."""
    # Materialized: otherwise PostgreSQL may read the whole session to find the messages with these keys.
    named = select(ChatMessage).where(_is_one_of(ChatMessage.id, ids)).cte("named").prefix_with("MATERIALIZED")
    message = aliased(ChatMessage, named)
    statement = _messages(user_id, message).where(message.session_id == session_id).order_by(message.seq)
    return [StoredMessage(*row) for row in await connection.execute(statement)]


async def find_last_of_branch(
    connection: AsyncConnection, *, session_id: int, message_uuid: UUID | None = None
) -> int | None:
    """Return the internal key of the last message of the active branch, or of a message by its public id.

    None: there is none. The caller must have checked the owner.
    """
    statement = select(ChatMessage.id).where(ChatMessage.session_id == session_id)
    if message_uuid is not None:
        statement = statement.where(ChatMessage.uuid == message_uuid)
    else:
        # The branch that is active now: the end of an earlier one may have been deleted.
        statement = statement.join(ChatSession, ChatSession.id == ChatMessage.session_id).where(
            ChatMessage.seq == LEAF_SEQ
        )
    return await connection.scalar(statement)


async def list_ancestors(connection: AsyncConnection, message_id: int) -> list[MessageKey]:
    """Return a message and its next ancestors, upwards. The next batch begins with the parent of the last one."""
    start = (
        select(*MESSAGE_KEY, literal(1, Integer).label("step"))
        .where(ChatMessage.id == bindparam("p_message_id", type_=BigInteger))
        .cte("path", recursive=True)
    )
    path = start.union_all(
        select(*MESSAGE_KEY, start.c.step + 1)
        .join(start, ChatMessage.id == start.c.parent_id)
        .where(start.c.step < _PATH_BATCH)
    )
    rows = await connection.execute(
        select(path.c.seq, path.c.id, path.c.parent_id, path.c.size).order_by(path.c.step),
        {"p_message_id": message_id},
    )
    return [MessageKey(*row) for row in rows]


def _is_one_of(column: InstrumentedAttribute[int], ids: Sequence[int]) -> ColumnElement[bool]:
    return column == any_(literal(list(ids), ARRAY(BigInteger)))
