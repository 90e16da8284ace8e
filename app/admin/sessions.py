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
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import AuditAction, NewAuditEntry, RequestOrigin
from app.database.repositories.chat import admin_sessions, sessions, turn_leases
from app.database.repositories.chat.admin_sessions import SessionOverview
from app.database.repositories.usage import totals
from app.services.redis.cache_purger import CachePurger
from app.services.redis.cancel_channel import CancelChannel
from app.services.usage_schemas import Usage

_MESSAGE_LIMIT = 200
_CANCEL_TIMEOUT = 6.0
"""Seconds a turn may take to stop before the caller is told that it has not."""
_POLL_INTERVAL = 0.15
"""Seconds between looks whether it has."""
_ACTIVE = {"pending", "streaming"}


async def list_sessions(transaction: DatabaseSession, query: SessionQuery) -> SessionPage:
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
        sessions=[SessionFacts(**_overview_fields(row)) for row in rows],
        pagination=Pagination.of(total=total, page=query.page, size=query.size),
    )


async def get_session(transaction: DatabaseSession, session_uuid: UUID) -> SessionInfo:
    """Return how a session is used.

    Raises:
        NotFoundError: there is no such session.

    """
    found = await _get_session(transaction, session_uuid)
    used = await totals.session_totals(transaction, found.id)
    messages = await admin_sessions.list_newest_messages(transaction, found.id, limit=_MESSAGE_LIMIT)
    return SessionInfo(
        **_overview_fields(found),
        usage=Usage.of(used),
        messages=[MessageInfo.model_validate(message) for message in messages],
    )


async def read_session(
    database: Database, admin: Principal, session_uuid: UUID, reading: SessionReading, origin: RequestOrigin
) -> SessionText:
    """Return what was written in a session, once it is in the log who reads it and why.

    Raises:
        NotFoundError: there is no such session.

    """
    async with database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
        found = await _get_session(transaction, session_uuid)
        await _record(transaction, "session.read", admin, found, origin, reason=reading.reason)
    async with database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
        texts = await admin_sessions.load_content(transaction, found.id, before=reading.before, limit=reading.limit)
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
class SessionAdminService:
    """Ends what somebody else began."""

    database: Database
    cache_purger: CachePurger
    channel: CancelChannel

    async def delete(self, admin: Principal, session_uuid: UUID, origin: RequestOrigin) -> None:
        """Delete a session as its owner would. An answer that is being made is not stored any more.

        Raises:
            NotFoundError: there is no such session.

        """
        async with self.database.transaction() as transaction:
            found = await _get_session(transaction, session_uuid)
            if not await sessions.remove(transaction, user_id=found.owner_id, session_uuid=session_uuid):
                raise NotFoundError
            await _record(transaction, "session.deleted", admin, found, origin, messages=found.message_count)
        await self.cache_purger.purge_session(session_uuid)

    async def stop(
        self, admin: Principal, session_uuid: UUID, message_uuid: UUID, origin: RequestOrigin
    ) -> StoppedMessage:
        """Stop an answer, and tell how it is when it has really stopped. One that has ended stays as it is.

        Raises:
            NotFoundError: there is no such answer.

        """
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
            found = await _get_session(transaction, session_uuid)
            status = await _status(transaction, found, message_uuid)
            if status in _ACTIVE:
                await turn_leases.request_cancel(
                    await transaction.connection(),
                    user_id=found.owner_id,
                    session_uuid=session_uuid,
                    answer_uuid=message_uuid,
                )
                await _record(transaction, "turn.stopped", admin, found, origin, message=str(message_uuid))
        if status in _ACTIVE:
            await self.channel.publish(message_uuid)
            status = await self._stopped(found, message_uuid, status)
        return StoppedMessage.model_validate({"message_id": message_uuid, "status": status})

    async def _stopped(self, found: SessionOverview, message_uuid: UUID, status: str) -> str:
        now = asyncio.get_running_loop().time
        deadline = now() + _CANCEL_TIMEOUT
        while status in _ACTIVE and now() < deadline:
            await asyncio.sleep(_POLL_INTERVAL)
            async with self.database.read_only(max_seconds=REQUEST_TIMEOUT) as session:
                status = await _status(session, found, message_uuid)
        return status


async def _get_session(transaction: DatabaseSession, session_uuid: UUID) -> SessionOverview:
    found = await admin_sessions.find(transaction, session_uuid)
    if found is None:
        raise NotFoundError
    return found


async def _status(session: DatabaseSession, found: SessionOverview, message_uuid: UUID) -> str:
    status = await admin_sessions.get_message_status(session, found.id, message_uuid)
    if status is None:
        raise NotFoundError
    return status


async def _record(
    transaction: DatabaseSession,
    action: AuditAction,
    admin: Principal,
    found: SessionOverview,
    origin: RequestOrigin,
    **details: object,
) -> None:
    # About the owner, whose export says so too.
    entry = NewAuditEntry(
        action, actor=admin.uuid, target=found.owner_uuid, details={"session": str(found.uuid), **details}
    )
    await audit_log.record(transaction, entry, origin)


def _overview_fields(row: SessionOverview) -> dict[str, Any]:
    return {
        "session_id": row.uuid,
        "user_id": row.owner_uuid,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "message_count": row.message_count,
        "last_message_timestamp": row.last_message_at,
        "is_archived": not row.is_active,
        "running_message_id": row.active_answer_uuid,
    }
