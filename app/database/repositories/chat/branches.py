"""Branches of the message tree: pages of the active branch, and its selection. `branch_deletion.py` deletes.

A page costs O(page + log depth) index lookups, wherever it lies: ancestors are found with the jump pointers of
messages. The caller must have checked the owner of the session.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Uuid,
    bindparam,
    case,
    false,
    func,
    literal,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.database.models import ChatMessage, ChatSession, MessageFeedback
from app.database.repositories.chat.sessions import MessageRow
from app.database.repositories.turns.turn_sql import LEAF_SEQ, message_preview
from app.database.repositories.usage import ledger


@dataclass(frozen=True, slots=True)
class BranchRow(MessageRow):
    """A message of a branch, with the public ids of its versions in the order of their creation, its own included."""

    sibling_uuids: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class BranchPage:
    """Consecutive messages of a branch, oldest first."""

    rows: Sequence[BranchRow]
    has_older: bool
    has_newer: bool


class BranchMessageRef(NamedTuple):
    """A message, and its position."""

    id: int
    uuid: UUID
    parent_id: int | None
    depth: int
    is_on_active_branch: bool


class LockedSession(NamedTuple):
    """A session that is locked until the transaction ends."""

    id: int
    last_seq: int
    message_count: int
    leaf_seq: int
    """`seq` of the last message of the active branch; 0: there is none."""


# Locks the account before the session, as every transaction does. PostgreSQL locks it itself when a transaction updates
# a session for the second time, to check the foreign key.
_owner = ledger.owner_statement()
_LOCK_SESSION = (
    select(ChatSession.id, ChatSession.last_seq, ChatSession.message_count, LEAF_SEQ)
    .where(ChatSession.user_id == _owner.c.id, ChatSession.uuid == bindparam("p_session_uuid", type_=Uuid))
    .with_for_update(of=ChatSession)
)


def _leaf(session_id: int) -> Select[int, int]:
    return (
        select(ChatMessage.id, ChatMessage.depth)
        .join(ChatSession, ChatSession.id == ChatMessage.session_id)
        .where(ChatSession.id == session_id, ChatMessage.seq == LEAF_SEQ)
    )


async def find_message(session: AsyncSession, session_id: int, message_uuid: UUID) -> BranchMessageRef | None:
    """Return a message of a session. None: it has no such message."""
    leaf = _leaf(session_id).subquery("leaf")
    row = (
        await session.execute(
            select(
                ChatMessage.id,
                ChatMessage.uuid,
                ChatMessage.parent_id,
                ChatMessage.depth,
                func.coalesce(func.chat_message_ancestor(leaf.c.id, ChatMessage.depth) == ChatMessage.id, false()),
            )
            .outerjoin(leaf, true())
            .where(ChatMessage.session_id == session_id, ChatMessage.uuid == message_uuid)
        )
    ).one_or_none()
    return BranchMessageRef(*row) if row else None


async def newest_page(session: AsyncSession, session_id: int, *, limit: int) -> BranchPage:
    """Return the last messages of the active branch."""
    leaf = _leaf(session_id).subquery("leaf")
    return await _page(session, session_id, select(leaf.c.id).scalar_subquery(), above_depth=0, limit=limit)


async def page_before(session: AsyncSession, session_id: int, before: BranchMessageRef, *, limit: int) -> BranchPage:
    """Return the messages of the active branch just before one of its messages."""
    return await _page(session, session_id, literal(before.parent_id), above_depth=0, limit=limit)


async def page_after(session: AsyncSession, session_id: int, after: BranchMessageRef, *, limit: int) -> BranchPage:
    """Return the messages of the active branch just after one of its messages."""
    leaf = _leaf(session_id).subquery("leaf")
    last = select(
        func.chat_message_ancestor(leaf.c.id, func.least(leaf.c.depth, after.depth + limit))
    ).scalar_subquery()
    return await _page(session, session_id, last, above_depth=after.depth, limit=limit)


async def _page(
    session: AsyncSession, session_id: int, last_id: ColumnElement[Any], *, above_depth: int, limit: int
) -> BranchPage:
    last = (
        select(ChatMessage.id, ChatMessage.parent_id, ChatMessage.depth, literal(1).label("count"))
        .where(ChatMessage.id == last_id, ChatMessage.depth > above_depth)
        .cte("branch", recursive=True)
    )
    branch = last.union_all(
        select(ChatMessage.id, ChatMessage.parent_id, ChatMessage.depth, last.c.count + 1)
        .join(last, ChatMessage.id == last.c.parent_id)
        .where(last.c.count < limit, ChatMessage.depth > above_depth)
    )
    parent, sibling = aliased(ChatMessage), aliased(ChatMessage)
    ids = select(func.array_agg(aggregate_order_by(sibling.uuid, sibling.seq))).where(sibling.role == ChatMessage.role)
    leaf = _leaf(session_id).subquery("leaf")
    rows = (
        await session.execute(
            select(
                ChatMessage,
                parent.uuid,
                func.coalesce(ChatMessage.lease_expires_at < func.now(), false()),
                MessageFeedback,
                # Two subqueries, because each has an index of its own.
                case(
                    (
                        ChatMessage.parent_id.is_(None),
                        ids.where(
                            sibling.session_id == ChatMessage.session_id, sibling.parent_id.is_(None)
                        ).scalar_subquery(),
                    ),
                    else_=ids.where(sibling.parent_id == ChatMessage.parent_id).scalar_subquery(),
                ),
                leaf.c.depth,
            )
            .join(branch, branch.c.id == ChatMessage.id)
            .outerjoin(parent, ChatMessage.parent_id == parent.id)
            .outerjoin(MessageFeedback, MessageFeedback.message_id == ChatMessage.id)
            .outerjoin(leaf, true())
            .order_by(branch.c.depth)
        )
    ).all()
    if not rows:
        return BranchPage([], has_older=above_depth > 0, has_newer=False)
    return BranchPage(
        [BranchRow(*columns) for *columns, _ in rows],
        has_older=rows[0][0].depth > 1,
        has_newer=rows[-1][0].depth < rows[-1][-1],
    )


async def lock_session(session: AsyncSession, *, user_id: int, session_uuid: UUID) -> LockedSession | None:
    """Lock a session of the user against new messages. None: there is none."""
    parameters = {"p_user_id": user_id, "p_session_uuid": session_uuid}
    row = (await session.execute(_LOCK_SESSION, parameters)).one_or_none()
    return LockedSession(*row) if row else None


async def activate(session: AsyncSession, locked: LockedSession, message_id: int | None) -> None:
    """Make the branch with a message the active one, down to its newest end. None: that of the newest first message.

    The preview of the session becomes that of the branch. The order of sessions in lists does not change.
    """
    if message_id is None:
        message_id = await session.scalar(
            select(ChatMessage.id)
            .where(ChatMessage.session_id == locked.id, ChatMessage.parent_id.is_(None))
            .order_by(ChatMessage.seq.desc())
            .limit(1)
        )
    leaf = None if message_id is None else await _newest_end(session, message_id)
    await session.execute(
        update(ChatSession)
        .where(ChatSession.id == locked.id)
        .values(
            active_seq=null() if leaf is not None and leaf.seq == locked.last_seq else (leaf.seq if leaf else 0),
            last_message_preview=message_preview(leaf.content) if leaf else null(),
            last_message_at=leaf.updated_at if leaf else null(),
            updated_at=ChatSession.updated_at,
        )
        .execution_options(synchronize_session=False)
    )


async def _newest_end(session: AsyncSession, message_id: int) -> ChatMessage:
    """Return the last message below one, following the newest message at each fork."""
    first = select(ChatMessage.id).where(ChatMessage.id == message_id).cte("branch", recursive=True)
    child = aliased(ChatMessage)
    newest = select(child.id).where(child.parent_id == first.c.id).order_by(child.seq.desc()).limit(1).lateral("newest")
    branch = first.union_all(select(newest.c.id).select_from(first.join(newest, true())))
    return (
        await session.scalars(
            select(ChatMessage).join(branch, branch.c.id == ChatMessage.id).order_by(ChatMessage.depth.desc()).limit(1)
        )
    ).one()


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """A stored question to answer once more."""

    uuid: UUID
    content: str
    meta: dict[str, Any]


async def find_question(
    session: AsyncSession, *, user_id: int, session_uuid: UUID, message_uuid: UUID
) -> StoredQuestion | None:
    """Return a question of the user by its own id or by that of an answer to it. None: there is none."""
    named, question = aliased(ChatMessage), aliased(ChatMessage)
    row = (
        await session.execute(
            select(question.uuid, question.content, question.meta)
            .join(
                named,
                question.id == case((named.role == "user", named.id), else_=named.parent_id),
            )
            .join(ChatSession, ChatSession.id == named.session_id)
            .where(
                ChatSession.user_id == user_id,
                ChatSession.uuid == session_uuid,
                named.uuid == message_uuid,
            )
        )
    ).one_or_none()
    return StoredQuestion(*row) if row else None
