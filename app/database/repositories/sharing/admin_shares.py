"""Shares of all users, for admins, without their text and tokens."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database.models import ChatSession, ChatShare, User
from app.database.repositories.sharing.shares import IS_VALID


class ShareOverview(NamedTuple):
    """Metadata of a share."""

    id: UUID
    """Public id; so are the other two."""
    user_id: UUID
    session_id: UUID
    message_count: int
    include_models: bool
    created_at: datetime
    expires_at: datetime | None


class RemovedShare(NamedTuple):
    """Public ids of the owner and the session of a deleted share."""

    owner_uuid: UUID
    session_uuid: UUID


async def find(session: AsyncSession, *, owner: UUID | None, after: UUID | None, limit: int) -> Sequence[ShareOverview]:
    """Return up to `limit` shares, the newest link first, after the share `after`, which need not exist any more."""
    statement = (
        select(
            ChatShare.uuid,
            User.uuid,
            ChatSession.uuid,
            ChatShare.message_count,
            ChatShare.includes_models,
            ChatShare.created_at,
            ChatShare.expires_at,
        )
        .join(User, User.id == ChatShare.user_id)
        .join(ChatSession, ChatSession.id == ChatShare.session_id)
        .where(IS_VALID)
        .order_by(ChatShare.uuid.desc())
        .limit(limit)
    )
    if owner is not None:
        statement = statement.where(ChatShare.user_id == select(User.id).where(User.uuid == owner).scalar_subquery())
    if after is not None:
        statement = statement.where(ChatShare.uuid < after)
    return [ShareOverview(*row) for row in await session.execute(statement)]


async def remove(session: AsyncSession, share_uuid: UUID) -> RemovedShare | None:
    """Delete a share of any user. None: there is none."""
    row = (
        await session.execute(
            delete(ChatShare)
            .where(ChatShare.uuid == share_uuid, User.id == ChatShare.user_id, ChatSession.id == ChatShare.session_id)
            .returning(User.uuid, ChatSession.uuid)
            .execution_options(synchronize_session=False)
        )
    ).one_or_none()
    return RemovedShare(*row) if row else None
