"""Storing of whole sessions: imported ones, and the messages of copies.

The keys of all messages are taken from the sequence at first. So a message can refer to its parent in the statement
that inserts both, and a session takes few statements.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    Integer,
    Text,
    Uuid,
    bindparam,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.schema_types import new_id
from app.database.models import ChatSession, ImportedSession
from app.database.models.chat.chat_session import TitleSource
from app.database.repositories.turns.turn_sql import message_preview
from app.database.repositories.usage import ledger

_BATCH_MESSAGES = 1000
_BATCH_CHARACTERS = 2_000_000
"""Maximum sizes of a batch, because a statement has a time limit."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message of a session to store. Its position in the list is its `seq`, from 1."""

    parent: int | None
    """Index of the parent, which comes before it."""
    role: str
    content: str
    status: str
    created_at: datetime
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class NewImportedSession:
    """A session to store, without its messages."""

    uuid: UUID
    fingerprint: bytes
    title: str
    meta: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    active: int | None
    """Index of the last message of the active branch. None: the newest message."""
    title_source: TitleSource
    is_archived: bool
    is_pinned: bool
    tags: Sequence[str]
    model: str | None


async def find_imported(connection: AsyncConnection, *, user_id: int, fingerprint: bytes) -> UUID | None:
    """Return the public id of the session that was imported with this fingerprint. None: there is none."""
    return await connection.scalar(
        select(ChatSession.uuid)
        .join(ImportedSession, ImportedSession.session_id == ChatSession.id)
        .where(ImportedSession.user_id == user_id, ImportedSession.fingerprint == fingerprint)
    )


async def insert_imported(
    connection: AsyncConnection, session: NewImportedSession, messages: Sequence[NewMessage], *, user_id: int
) -> bool:
    """Store a session with its messages. The caller must roll back if it returns False: it has been imported before.

    Raises:
        sqlalchemy.exc.IntegrityError: the account was erased; `Database` translates it.

    """
    last = None if not messages else messages[-1 if session.active is None else session.active]
    values: dict[str, Any] = {
        "uuid": session.uuid,
        "user_id": user_id,
        "title": session.title,
        "title_source": session.title_source,
        "meta": session.meta,
        "model": session.model,
        "is_active": not session.is_archived,
        "is_pinned": session.is_pinned,
        "tags": list(session.tags),
        "last_seq": len(messages),
        "active_seq": None if session.active is None else session.active + 1,
        "message_count": len(messages),
        "last_message_preview": None if last is None else message_preview(last.content),
        "last_message_at": None if last is None else last.created_at,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
    }
    # Locks the account before the session, as every transaction does.
    await connection.execute(select(ledger.owner_statement()), {"p_user_id": user_id})
    session_id = (await connection.execute(insert(ChatSession).values(values).returning(ChatSession.id))).scalar_one()
    is_new = await connection.scalar(
        pg_insert(ImportedSession)
        .values(session_id=session_id, user_id=user_id, fingerprint=session.fingerprint)
        .on_conflict_do_nothing(index_elements=[ImportedSession.user_id, ImportedSession.fingerprint])
        .returning(ImportedSession.session_id)
    )
    if is_new is None:
        return False
    await insert_messages(connection, messages, session_id=session_id)
    return True


async def insert_messages(connection: AsyncConnection, messages: Sequence[NewMessage], *, session_id: int) -> None:
    """Store the messages of a session that has none."""
    ids = await allocate_message_ids(connection, len(messages))
    for start, end in _batches(messages):
        batch = messages[start:end]
        await connection.execute(
            _INSERT_MESSAGES,
            {
                "session_id": session_id,
                "ids": ids[start:end],
                "uuids": [new_id() for _ in batch],
                "seqs": list(range(start + 1, end + 1)),
                "parent_ids": [None if message.parent is None else ids[message.parent] for message in batch],
                "roles": [message.role for message in batch],
                "contents": [message.content for message in batch],
                "statuses": [message.status for message in batch],
                "metas": [message.meta for message in batch],
                "times": [message.created_at for message in batch],
            },
        )


async def allocate_message_ids(connection: AsyncConnection, count: int) -> Sequence[int]:
    """Return new keys of messages, in ascending order."""
    if not count:
        return []
    return (await connection.scalars(_NEXT_IDS, {"count": count})).all()


def _batches(messages: Sequence[NewMessage]) -> list[tuple[int, int]]:
    """Return the bounds of batches of which none is larger than a statement can store in its time limit."""
    bounds = []
    start = characters = 0
    for index, message in enumerate(messages):
        is_full = index - start >= _BATCH_MESSAGES or characters + len(message.content) > _BATCH_CHARACTERS
        if is_full and index > start:
            bounds.append((start, index))
            start, characters = index, 0
        characters += len(message.content)
    return [*bounds, (start, len(messages))] if messages else []


_NEXT_IDS = text(
    "SELECT nextval(pg_get_serial_sequence('chat_messages', 'id')) FROM generate_series(1, :count)"
).bindparams(bindparam("count", type_=Integer))

# The trigger of the table sets the place in the tree of messages with a parent; a message without one says that it is
# a first one with its depth. Rows are inserted in the order of `seq`, so the trigger finds each parent.
_INSERT_MESSAGES = text("""
    INSERT INTO chat_messages
        (id, uuid, session_id, seq, parent_id, depth, role, content, status, metadata, created_at, updated_at)
    OVERRIDING SYSTEM VALUE
    SELECT id, uuid, :session_id, seq, parent_id, CASE WHEN parent_id IS NULL THEN 1 END, role, content, status,
           metadata, created_at, created_at
    FROM unnest(:ids, :uuids, :seqs, :parent_ids, :roles, :contents, :statuses, :metas, :times)
         AS message (id, uuid, seq, parent_id, role, content, status, metadata, created_at)
    ORDER BY seq
""").bindparams(
    bindparam("session_id", type_=BigInteger),
    bindparam("ids", type_=ARRAY(BigInteger)),
    bindparam("uuids", type_=ARRAY(Uuid)),
    bindparam("seqs", type_=ARRAY(Integer)),
    bindparam("parent_ids", type_=ARRAY(BigInteger)),
    bindparam("roles", type_=ARRAY(Text)),
    bindparam("contents", type_=ARRAY(Text)),
    bindparam("statuses", type_=ARRAY(Text)),
    bindparam("metas", type_=ARRAY(JSONB)),
    bindparam("times", type_=ARRAY(DateTime(timezone=True))),
)
