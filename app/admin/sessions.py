"""Everybody's sessions, as admins see and end them. What people wrote is shown to who says why, and the log knows."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.admin.schemas.sessions import (
    MessageInfo,
    MessageText,
    SessionFacts,
    SessionInfo,
    SessionPage,
    SessionQuery,
    SessionReading,
    SessionText,
    StoppedMessage,
)
from app.core.exceptions import NotFoundError
from app.core.types import Pagination
from app.database.connection import PATIENCE, Database, DatabaseSession
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import Action, Entry, Origin
from app.database.repositories.chat import admin_sessions, sessions, turns
from app.database.repositories.chat.admin_sessions import Conversation
from app.database.repositories.usage import totals
from app.services.redis.cache_purger import SessionCleaner
from app.services.redis.cancel_channel import StopChannel
from app.services.usage_schemas import Usage

_SHOWN_MESSAGES = 200
_STOP_PATIENCE = 6.0
"""Seconds a turn may take to stop before the caller is told that it has not."""
_LOOK_EVERY = 0.15
"""Seconds between looks whether it has."""
_ACTIVE = {"pending", "streaming"}


async def find(transaction: DatabaseSession, query: SessionQuery) -> SessionPage:
    """Return a page of sessions, newest first."""
    rows, total = await admin_sessions.list_page(
        transaction,
        page=query.page,
        size=query.size,
        owner=query.user,
        start=query.from_,
        end=query.to,
        is_archived=query.is_archived,
        is_running=query.is_running,
    )
    return SessionPage(
        sessions=[SessionFacts(**_facts(row)) for row in rows],
        pagination=Pagination.of(total=total, page=query.page, size=query.size),
    )


async def show(transaction: DatabaseSession, session_uuid: UUID) -> SessionInfo:
    """Return how a session is used.

    Raises:
        NotFoundError: there is no such session.

    """
    found = await _found(transaction, session_uuid)
    used = await totals.of_session(transaction, found.id)
    messages = await admin_sessions.newest_messages(transaction, found.id, limit=_SHOWN_MESSAGES)
    return SessionInfo(
        **_facts(found),
        usage=Usage.of(used),
        messages=[MessageInfo.model_validate(message) for message in messages],
    )


async def read(
    database: Database, admin: Principal, session_uuid: UUID, reading: SessionReading, origin: Origin
) -> SessionText:
    """Return what was written in a session, once it is in the log who reads it and why.

    Raises:
        NotFoundError: there is no such session.

    """
    async with database.transaction(max_seconds=PATIENCE) as transaction:
        found = await _found(transaction, session_uuid)
        await _note(transaction, "session.read", admin, found, origin, reason=reading.reason)
    async with database.transaction(max_seconds=PATIENCE) as transaction:
        texts = await admin_sessions.read(transaction, found.id, before=reading.before, limit=reading.limit)
    if texts is None:
        raise NotFoundError
    return SessionText(
        session_id=found.uuid,
        user_id=found.owner_uuid,
        title=texts.title,
        context=texts.meta,
        summary=texts.summary,
        messages=[MessageText.model_validate(message) for message in texts.messages],
    )


@dataclass(frozen=True, slots=True)
class SessionKeeper:
    """Ends what somebody else began."""

    database: Database
    cleaner: SessionCleaner
    channel: StopChannel

    async def delete(self, admin: Principal, session_uuid: UUID, origin: Origin) -> None:
        """Delete a session as its owner would. An answer that is being made is not stored any more.

        Raises:
            NotFoundError: there is no such session.

        """
        async with self.database.transaction() as transaction:
            found = await _found(transaction, session_uuid)
            if not await sessions.remove(transaction, user_id=found.owner_id, session_uuid=session_uuid):
                raise NotFoundError
            await _note(transaction, "session.deleted", admin, found, origin, messages=found.message_count)
        await self.cleaner.clean(session_uuid)

    async def stop(self, admin: Principal, session_uuid: UUID, message_uuid: UUID, origin: Origin) -> StoppedMessage:
        """Stop an answer, and tell how it is when it has really stopped. One that has ended stays as it is.

        Raises:
            NotFoundError: there is no such answer.

        """
        async with self.database.transaction(max_seconds=PATIENCE) as transaction:
            found = await _found(transaction, session_uuid)
            status = await _status(transaction, found, message_uuid)
            if status in _ACTIVE:
                await turns.request_cancel(
                    await transaction.connection(),
                    user_id=found.owner_id,
                    session_uuid=session_uuid,
                    answer_uuid=message_uuid,
                )
                await _note(transaction, "turn.stopped", admin, found, origin, message=str(message_uuid))
        if status in _ACTIVE:
            await self.channel.tell(message_uuid)
            status = await self._stopped(found, message_uuid, status)
        return StoppedMessage.model_validate({"message_id": message_uuid, "status": status})

    async def _stopped(self, found: Conversation, message_uuid: UUID, status: str) -> str:
        now = asyncio.get_running_loop().time
        give_up = now() + _STOP_PATIENCE
        while status in _ACTIVE and now() < give_up:
            await asyncio.sleep(_LOOK_EVERY)
            async with self.database.reading(max_seconds=PATIENCE) as session:
                status = await _status(session, found, message_uuid)
        return status


async def _found(transaction: DatabaseSession, session_uuid: UUID) -> Conversation:
    found = await admin_sessions.find(transaction, session_uuid)
    if found is None:
        raise NotFoundError
    return found


async def _status(session: DatabaseSession, found: Conversation, message_uuid: UUID) -> str:
    status = await admin_sessions.message_status(session, found.id, message_uuid)
    if status is None:
        raise NotFoundError
    return status


async def _note(
    transaction: DatabaseSession,
    action: Action,
    admin: Principal,
    found: Conversation,
    origin: Origin,
    **details: object,
) -> None:
    # About the owner, whose export says so too.
    entry = Entry(action, actor=admin.uuid, target=found.owner_uuid, details={"session": str(found.uuid), **details})
    await audit_log.record(transaction, entry, origin)


def _facts(row: Conversation) -> dict[str, Any]:
    return {
        "session_id": row.uuid,
        "user_id": row.owner_uuid,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "message_count": row.message_count,
        "last_message_timestamp": row.last_message_at,
        "is_archived": not row.is_active,
        "running_message_id": row.running,
    }
