"""Copies of sessions, made inside PostgreSQL in batches, because a statement has a time limit."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Uuid, bindparam, func, null, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.schema_types import new_id
from app.database.models import ChatMessage, ChatSession
from app.database.repositories.transfer import conversations
from app.database.repositories.transfer.conversations import MESSAGE_KEY, MessageKey, StoredSession
from app.database.repositories.transfer.session_store import allocate_message_ids
from app.database.repositories.turns.turn_sql import message_preview

_BATCH_SIZE = 2000
_PREVIEW_SOURCE = 1000
"""Number of characters of a message of which a preview is made, which may begin with white space."""


class SourceChangedError(Exception):
    """Messages of the source were deleted while it was copied. The caller must roll back."""


async def list_all_keys(connection: AsyncConnection, source: StoredSession) -> list[MessageKey]:
    """Return the messages of all branches, in the order of their creation."""
    keys: list[MessageKey] = []
    while True:
        rows = await connection.execute(
            select(*MESSAGE_KEY)
            .where(
                ChatMessage.session_id == source.id,
                ChatMessage.seq > (keys[-1].seq if keys else 0),
                ChatMessage.seq <= source.last_seq,
            )
            .order_by(ChatMessage.seq)
            .limit(_BATCH_SIZE)
        )
        batch = [MessageKey(*row) for row in rows]
        keys += batch
        if len(batch) < _BATCH_SIZE:
            return keys


async def list_branch_keys(connection: AsyncConnection, source: StoredSession, message_uuid: UUID) -> list[MessageKey]:
    """Return the messages from the first one to the given one. Empty: the session has no such message."""
    last_id = await conversations.find_last_of_branch(connection, session_id=source.id, message_uuid=message_uuid)
    keys: list[MessageKey] = []
    while last_id is not None:
        batch = await conversations.list_ancestors(connection, last_id)
        keys += batch
        last_id = batch[-1].parent_id if batch else None
    return keys[::-1]


async def copy_messages(
    connection: AsyncConnection, source: StoredSession, keys: Sequence[MessageKey], *, session_id: int
) -> None:
    """Copy messages to a session that has none. They keep their `seq` and their times.

    An answer that is being generated is copied as one that was interrupted.

    Raises:
        SourceChangedError: messages were deleted meanwhile.

    """
    ids = await allocate_message_ids(connection, len(keys))
    new_id_of = {key.id: message_id for key, message_id in zip(keys, ids, strict=True)}
    for start in range(0, len(keys), _BATCH_SIZE):
        batch = keys[start : start + _BATCH_SIZE]
        result = await connection.execute(
            _COPY_MESSAGES,
            {
                "source_id": source.id,
                "session_id": session_id,
                "source_ids": [key.id for key in batch],
                "ids": [new_id_of[key.id] for key in batch],
                "uuids": [new_id() for _ in batch],
                "parent_ids": [None if key.parent_id is None else new_id_of.get(key.parent_id) for key in batch],
            },
        )
        if result.rowcount != len(batch):
            raise SourceChangedError


async def finish_copy(
    session: AsyncSession, source: StoredSession, keys: Sequence[MessageKey], *, session_id: int, active_seq: int | None
) -> None:
    """Set counters, preview, tags and model of a copy whose messages have been stored."""
    last_seq = max(source.last_seq if active_seq is not None else 0, keys[-1].seq if keys else 0)
    leaf_seq = last_seq if active_seq is None else active_seq
    leaf = (
        await session.execute(
            select(func.left(ChatMessage.content, _PREVIEW_SOURCE), ChatMessage.updated_at).where(
                ChatMessage.session_id == session_id,
                ChatMessage.seq == leaf_seq,
            )
        )
    ).one_or_none()
    if leaf_seq and leaf is None:
        raise SourceChangedError  # the end of the branch was deleted between the statements
    await session.execute(
        update(ChatSession)
        .where(ChatSession.id == session_id)
        .values(
            message_count=len(keys),
            last_seq=last_seq,
            active_seq=active_seq,
            last_message_preview=message_preview(leaf[0]) if leaf else null(),
            last_message_at=leaf[1] if leaf else null(),
            tags=list(source.tags),
            model=source.model,
        )
        .execution_options(synchronize_session=False)
    )


# Places in the tree: see `session_store`. Each message is looked up by its key: without the OFFSET, PostgreSQL may read
# the whole session for each of them.
_COPY_MESSAGES = text("""
    INSERT INTO chat_messages
        (id, uuid, session_id, seq, parent_id, depth, role, content, status, metadata, tokens_used,
         processing_time_ms, created_at, updated_at)
    OVERRIDING SYSTEM VALUE
    SELECT copy.id, copy.uuid, :session_id, source.seq, copy.parent_id, CASE WHEN copy.parent_id IS NULL THEN 1 END,
           source.role, source.content,
           CASE WHEN source.lease_expires_at IS NULL THEN source.status ELSE 'interrupted' END,
           source.metadata, source.tokens_used, source.processing_time_ms, source.created_at, source.updated_at
    FROM unnest(:source_ids, :ids, :uuids, :parent_ids) AS copy (source_id, id, uuid, parent_id)
    CROSS JOIN LATERAL (SELECT * FROM chat_messages WHERE id = copy.source_id OFFSET 0) AS source
    WHERE source.session_id = :source_id
    ORDER BY source.seq
""").bindparams(
    bindparam("source_id", type_=BigInteger),
    bindparam("session_id", type_=BigInteger),
    bindparam("source_ids", type_=ARRAY(BigInteger)),
    bindparam("ids", type_=ARRAY(BigInteger)),
    bindparam("uuids", type_=ARRAY(Uuid)),
    bindparam("parent_ids", type_=ARRAY(BigInteger)),
)
