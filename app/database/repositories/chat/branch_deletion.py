"""Deletion of a message with everything that follows it. The caller must have checked the owner of the session."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, delete, func, literal, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import ChatMessage, ChatSession, IdempotencyKey
from app.database.models.chat.chat_session import DEFAULT_TITLE
from app.database.repositories.chat import branches
from app.database.repositories.chat.branches import BranchMessageRef, LockedSession
from app.database.repositories.turns.turn_sql import IS_ACTIVE, MAY_BE_BUFFERED

_DELETED_PER_STATEMENT = 5000
"""Maximum number of messages that one statement deletes, because statements have a time limit."""


@dataclass(frozen=True, slots=True)
class DeletedMessages:
    """Messages that were deleted, and what is left."""

    count: int
    answer_uuids: Sequence[UUID]
    """Public ids of the answers of which Redis may have copies."""
    message_count: int


async def find_active_answer_below(session: AsyncSession, session_id: int, message: BranchMessageRef) -> UUID | None:
    """Return the id of the answer that is being generated: the message, or one that follows it. None: there is none."""
    return await session.scalar(
        select(ChatMessage.uuid).where(
            ChatMessage.session_id == session_id,
            IS_ACTIVE,
            func.chat_message_ancestor(ChatMessage.id, message.depth) == message.id,
        )
    )


async def delete_from(session: AsyncSession, locked: LockedSession, message: BranchMessageRef) -> DeletedMessages:
    """Delete a message with all that follows it, in all branches, and what was stored of them elsewhere.

    If the end of the active branch is among them, the branch goes on from the message before, to its newest end.
    """
    count = 0
    answer_uuids: list[UUID] = []
    buffered: list[UUID] = []
    while True:
        below = select(ChatMessage.id, ChatMessage.seq).where(ChatMessage.id == message.id).cte("below", recursive=True)
        below = below.union_all(
            select(ChatMessage.id, ChatMessage.seq).join(below, ChatMessage.parent_id == below.c.id)
        )
        # The newest first: a message is deleted after its descendants, so that nothing is deleted by cascade.
        newest = select(below.c.id).order_by(below.c.seq.desc()).limit(_DELETED_PER_STATEMENT)
        rows = (
            await session.execute(
                delete(ChatMessage)
                .where(ChatMessage.id.in_(newest))
                .returning(ChatMessage.uuid, ChatMessage.role, MAY_BE_BUFFERED.label("may_be_buffered"))
                .execution_options(synchronize_session=False)
            )
        ).all()
        count += len(rows)
        answer_uuids += [row.uuid for row in rows if row.role == "assistant"]
        buffered += [row.uuid for row in rows if row.may_be_buffered]
        if len(rows) < _DELETED_PER_STATEMENT:
            break
    # Their responses repeat the messages. An array is one parameter, regardless of its length.
    await session.execute(
        delete(IdempotencyKey)
        .where(
            IdempotencyKey.session_id == locked.id, IdempotencyKey.turn_id == any_(literal(answer_uuids, ARRAY(Uuid)))
        )
        .execution_options(synchronize_session=False)
    )
    message_count = locked.message_count - count
    await session.execute(
        update(ChatSession)
        .where(ChatSession.id == locked.id)
        .values(message_count=message_count, updated_at=ChatSession.updated_at)
        .execution_options(synchronize_session=False)
    )
    if message.parent_id is None:
        # The title may repeat the deleted question. The next question gives the session another one.
        await session.execute(
            update(ChatSession)
            .where(ChatSession.id == locked.id, ChatSession.title_source != "user")
            .values(title=DEFAULT_TITLE, title_source="default", updated_at=ChatSession.updated_at)
            .execution_options(synchronize_session=False)
        )
    if message.is_on_active_branch:
        await branches.activate(session, locked, message.parent_id)
    return DeletedMessages(count, buffered, message_count)
