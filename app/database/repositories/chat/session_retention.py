"""Deletion of sessions that have not been used for a time."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Integer, and_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import Interval

from app.database.models import ChatSession, ImportedSession
from app.database.repositories.chat import session_batches
from app.database.repositories.chat.session_batches import DeletedSessions
from app.database.repositories.usage import ledger


class UnusedSession(NamedTuple):
    """A session to delete, and its owner."""

    user_id: int
    uuid: UUID


_limit = func.now() - bindparam("p_age", type_=Interval)
# An imported session has the times of its file, and has been used when it was imported.
_was_imported = (
    select(ImportedSession.session_id)
    .where(ImportedSession.session_id == ChatSession.id, ImportedSession.created_at >= _limit)
    .exists()
)
_is_unused = and_(ChatSession.updated_at < _limit, ~_was_imported)
_FIND = select(ChatSession.user_id, ChatSession.uuid).where(_is_unused).limit(bindparam("p_limit", type_=Integer))
# Locks the account before its session, as every transaction does.
_owner = ledger.owner_statement()
_LOCK = (
    select(ChatSession.id)
    .where(ChatSession.user_id == _owner.c.id, ChatSession.uuid == bindparam("p_session_uuid"), _is_unused)
    .with_for_update(of=ChatSession, skip_locked=True)
)


async def find_unused(connection: AsyncConnection, *, age: timedelta, limit: int) -> Sequence[UnusedSession]:
    """Return up to `limit` sessions that have not been updated for `age`."""
    rows = await connection.execute(_FIND, {"p_age": age, "p_limit": limit})
    return [UnusedSession(*row) for row in rows]


async def remove(session: AsyncSession, unused: UnusedSession, *, age: timedelta) -> DeletedSessions:
    """Delete an unused session with its messages. Empty: it has been used or deleted since, or is locked."""
    parameters = {"p_user_id": unused.user_id, "p_session_uuid": unused.uuid, "p_age": age}
    locked = (await session.scalars(_LOCK, parameters)).all()
    return await session_batches.remove(session, locked, user_id=unused.user_id)
