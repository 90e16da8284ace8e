"""Snapshots of branches: creation for a share. The account must be locked."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Interval,
    SQLColumnExpression,
    Text,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    null,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.schema_types import new_id
from app.database.models import ChatMessage, ChatSession, ChatShare
from app.database.repositories.sharing.shares import IS_VALID
from app.database.repositories.turns.turn_sql import LEAF_SEQ


class SharedSession(NamedTuple):
    """A session that is locked against deletion until the transaction ends."""

    id: int
    title: str
    leaf_seq: int
    """`seq` of the last message of the active branch. 0: there is none."""


class LastMessage(NamedTuple):
    """A message that is locked against deletion until the transaction ends."""

    id: int
    session_id: int
    depth: int
    """Number of messages from the beginning of the branch to this one."""
    status: str
    uuid: UUID


@dataclass(frozen=True, slots=True)
class NewShare:
    """A share to create."""

    title: str
    includes_models: bool
    lifetime: timedelta | None
    """None: the link does not expire."""
    keeps_link: bool
    """Whether the link of an earlier share of the session shows the new snapshot. Otherwise it is replaced."""


async def lock_shared_session(session: AsyncSession, *, user_id: int, session_uuid: UUID) -> SharedSession | None:
    """Lock a session of the user. The account must be locked already. None: there is none."""
    row = (
        await session.execute(
            select(ChatSession.id, ChatSession.title, LEAF_SEQ)
            .where(ChatSession.user_id == user_id, ChatSession.uuid == session_uuid)
            .with_for_update(read=True, key_share=True)
        )
    ).one_or_none()
    return SharedSession(*row) if row else None


async def lock_last_message(
    session: AsyncSession, locked: SharedSession, message_uuid: UUID | None
) -> LastMessage | None:
    """Lock the last message of the branch to share. None: the session has no such message.

    `message_uuid` None: the last message of the active branch.
    """
    is_last = ChatMessage.seq == locked.leaf_seq if message_uuid is None else ChatMessage.uuid == message_uuid
    row = (
        await session.execute(
            select(ChatMessage.id, ChatMessage.session_id, ChatMessage.depth, ChatMessage.status, ChatMessage.uuid)
            .where(ChatMessage.session_id == locked.id, is_last)
            .with_for_update(read=True, key_share=True)
        )
    ).one_or_none()
    return LastMessage(*row) if row else None


async def text_size(session: AsyncSession, last: LastMessage) -> int:
    """Return the size of the texts of a branch in bytes. The caller must have limited its `depth`."""
    branch = _branch(last)
    size = func.coalesce(func.sum(func.octet_length(ChatMessage.content)), 0)
    return int((await session.execute(select(size).join(branch, branch.c.id == ChatMessage.id))).scalar_one())


async def create(session: AsyncSession, new: NewShare, last: LastMessage, *, user_id: int) -> UUID:
    """Store a snapshot of the branch that ends with a message, in place of the session's earlier one; return its id."""
    model = (
        case((ChatMessage.role == literal_column("'assistant'"), ChatMessage.meta["model_used"].astext))
        if new.includes_models
        else cast(null(), Text)
    )
    fields: dict[str, SQLColumnExpression[Any]] = {
        "role": ChatMessage.role,
        "content": ChatMessage.content,
        "status": ChatMessage.status,
        "timestamp": ChatMessage.updated_at,
        "model": model,
    }
    branch = _branch(last)
    message = func.jsonb_build_object(*(part for item in fields.items() for part in item))
    snapshot = select(
        func.jsonb_agg(aggregate_order_by(message, ChatMessage.depth)).label("messages"),
        cast(func.count(), Integer).label("message_count"),
    ).join(branch, branch.c.id == ChatMessage.id)
    values = {
        "uuid": new_id(),
        "user_id": user_id,
        "session_id": last.session_id,
        "last_message_id": last.id,
        "title": new.title,
        "includes_models": new.includes_models,
    }
    source = snapshot.subquery("snapshot")
    parameters = [bindparam(None, value, ChatShare.__table__.c[name].type) for name, value in values.items()]
    expires_at = func.now() + bindparam(None, new.lifetime, Interval())  # null plus anything is null
    names = [*values, "expires_at", *source.c.keys()]
    statement = insert(ChatShare).from_select(names, select(*parameters, expires_at, *source.c))
    replaced: dict[str, ColumnElement[Any]] = {name: statement.excluded[name] for name in names}
    if new.keeps_link:
        replaced["uuid"] = case((IS_VALID, ChatShare.uuid), else_=statement.excluded.uuid)
    stored: UUID | None = await session.scalar(
        statement.on_conflict_do_update(
            index_elements=[ChatShare.session_id], set_=replaced | {"created_at": func.now()}
        ).returning(ChatShare.uuid)
    )
    assert stored is not None  # noqa: S101 - the statement inserts or updates
    return stored


def _branch(last: LastMessage) -> CTE:
    """Build the ids of a message and its ancestors."""
    branch = (
        select(ChatMessage.id, ChatMessage.parent_id).where(ChatMessage.id == last.id).cte("branch", recursive=True)
    )
    return branch.union_all(
        select(ChatMessage.id, ChatMessage.parent_id).join(branch, ChatMessage.id == branch.c.parent_id)
    )
