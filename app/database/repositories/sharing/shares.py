"""Shares of conversations: listing, reading, deletion."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import ChatSession, ChatShare, User
from app.database.repositories.operations import batch_deletion

SharedMessages: TypeAlias = Sequence[dict[str, Any]]
"""Messages of a snapshot: `role`, `content`, `status`, `timestamp` and `model` of each, oldest first."""


class StoredShare(NamedTuple):
    """A share without its text."""

    uuid: UUID
    session_uuid: UUID
    title: str
    message_count: int
    includes_models: bool
    created_at: datetime
    expires_at: datetime | None


class Snapshot(NamedTuple):
    """What the readers of a link see."""

    title: str
    messages: SharedMessages
    created_at: datetime
    expires_at: datetime | None


IS_VALID = or_(ChatShare.expires_at.is_(None), ChatShare.expires_at > func.now())
_SHARE = (
    ChatShare.uuid,
    ChatSession.uuid,
    ChatShare.title,
    ChatShare.message_count,
    ChatShare.includes_models,
    ChatShare.created_at,
    ChatShare.expires_at,
)
_PURGE = batch_deletion.delete_statement(ChatShare.id, ChatShare.expires_at < func.now())


async def count(session: AsyncSession, *, user_id: int, except_session: int) -> int:
    """Return the number of the user's shares, without that of one session."""
    statement = select(func.count()).where(
        ChatShare.user_id == user_id, ChatShare.session_id != except_session, IS_VALID
    )
    return await session.scalar(statement) or 0


async def get(session: AsyncSession, *, user_id: int, session_uuid: UUID) -> StoredShare | None:
    """Return the share of a session of the user. None: there is none, or it has expired."""
    row = (await session.execute(_owned(user_id).where(ChatSession.uuid == session_uuid))).one_or_none()
    return StoredShare(*row) if row else None


async def list_page(session: AsyncSession, *, user_id: int, page: int, size: int) -> tuple[Sequence[StoredShare], int]:
    """Return a page of the user's shares, the newest link first, and the total number. Two statements."""
    total = await session.scalar(select(func.count()).where(ChatShare.user_id == user_id, IS_VALID))
    rows = await session.execute(_owned(user_id).order_by(ChatShare.uuid.desc()).offset((page - 1) * size).limit(size))
    return [StoredShare(*row) for row in rows], total or 0


async def remove(session: AsyncSession, *, user_id: int, session_uuid: UUID) -> UUID | None:
    """Delete the share of a session of the user, and return its id. None: there is none."""
    owned = select(ChatSession.id).where(ChatSession.user_id == user_id, ChatSession.uuid == session_uuid)
    removed: UUID | None = await session.scalar(
        delete(ChatShare)
        .where(ChatShare.session_id == owned.scalar_subquery(), ChatShare.user_id == user_id)
        .returning(ChatShare.uuid)
        .execution_options(synchronize_session=False)
    )
    return removed


async def read(session: AsyncSession, share_uuid: UUID) -> Snapshot | None:
    """Return a shared snapshot. None: it was revoked or has expired, or its owner is disabled."""
    row = (
        await session.execute(
            select(ChatShare.title, ChatShare.messages, ChatShare.created_at, ChatShare.expires_at)
            .join(User, User.id == ChatShare.user_id)
            .where(ChatShare.uuid == share_uuid, IS_VALID, User.is_active)
        )
    ).one_or_none()
    return Snapshot(*row) if row else None


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete up to `limit` expired shares, and return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)


def _owned(user_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(*_SHARE)
        .join(ChatSession, ChatSession.id == ChatShare.session_id)
        .where(ChatShare.user_id == user_id, IS_VALID)
    )
