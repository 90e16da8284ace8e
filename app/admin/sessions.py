"""Administration of chat sessions: list, read with a recorded reason, delete, and cancel running answers."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.admin.schemas.sessions import (
    MessageInfo,
    MessageQuery,
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
from app.core.schema_types import Pagination
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseSession
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import AuditAction, NewAuditEntry, RequestOrigin
from app.database.repositories.chat import admin_sessions, sessions
from app.database.repositories.chat.admin_sessions import SessionOverview
from app.database.repositories.turns import active_turns
from app.database.repositories.usage import totals
from app.services.redis.cancel_channel import CancelChannel
from app.services.redis.deleted_session_purger import DeletedSessionPurger
from app.services.turn_end_polling import ACTIVE_STATUSES, wait_until_stopped
from app.services.usage_schemas import Usage


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


async def get_session(transaction: DatabaseSession, session_uuid: UUID, query: MessageQuery) -> SessionInfo:
    """Return the details of a session, with a part of its message tree, without its text.

    Raises:
        NotFoundError: the session does not exist.

    """
    session = await _get_session(transaction, session_uuid)
    usage = await totals.session_totals(transaction, session.id)
    rows = await admin_sessions.list_messages(transaction, session.id, before=query.before, limit=query.limit + 1)
    return SessionInfo(
        **_overview_fields(session),
        usage=Usage.of(usage),
        messages=[MessageInfo.model_validate(message) for message in rows[-query.limit :]],
        has_older=len(rows) > query.limit,
    )


async def read_session(
    database: Database, admin: Principal, session_uuid: UUID, reading: SessionReading, origin: RequestOrigin
) -> SessionText:
    """Record the access and its reason in the audit log, then return the text of a session.

    Raises:
        NotFoundError: the session does not exist.

    """
    async with database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
        session = await _get_session(transaction, session_uuid)
        await _record(transaction, "session.read", admin, session, origin, reason=reading.reason)
    async with database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
        content = await admin_sessions.load_content(transaction, session.id, before=reading.before, limit=reading.limit)
    if content is None:
        raise NotFoundError
    return SessionText(
        session_id=session.uuid,
        user_id=session.owner_uuid,
        title=content.title,
        context=content.meta,
        summary=content.summary,
        messages=[MessageText.model_validate(message) for message in content.messages],
    )


@dataclass(frozen=True, slots=True)
class SessionAdminService:
    """Deletes sessions and cancels answers of other users."""

    database: Database
    deleted_session_purger: DeletedSessionPurger
    cancel_channel: CancelChannel

    async def delete(self, admin: Principal, session_uuid: UUID, origin: RequestOrigin) -> None:
        """Delete a session in the same way as its owner. A running answer is not stored.

        Raises:
            NotFoundError: the session does not exist.

        """
        async with self.database.transaction() as transaction:
            session = await _get_session(transaction, session_uuid)
            deleted = await sessions.remove(transaction, user_id=session.owner_id, session_uuid=session_uuid)
            if deleted is None:
                raise NotFoundError
            await _record(transaction, "session.deleted", admin, session, origin, messages=session.message_count)
        await self.deleted_session_purger.purge_sessions(deleted.uuids, deleted.answer_uuids)

    async def cancel_answer(
        self, admin: Principal, session_uuid: UUID, message_uuid: UUID, origin: RequestOrigin
    ) -> StoppedMessage:
        """Cancel a running answer and return its status when it has stopped, or after a timeout.

        An answer that has ended is not changed.

        Raises:
            NotFoundError: the session or the answer does not exist.

        """
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
            session = await _get_session(transaction, session_uuid)
            status = await _get_status(transaction, session, message_uuid)
            if status in ACTIVE_STATUSES:
                await active_turns.request_cancel(
                    await transaction.connection(),
                    user_id=session.owner_id,
                    session_uuid=session_uuid,
                    answer_uuid=message_uuid,
                )
                await _record(transaction, "turn.stopped", admin, session, origin, message=str(message_uuid))
        if status in ACTIVE_STATUSES:
            await self.cancel_channel.publish(message_uuid)
            status = await wait_until_stopped(
                status, lambda: self._read_status(session, message_uuid), status_of=lambda status: status
            )
        return StoppedMessage.model_validate({"message_id": message_uuid, "status": status})

    async def _read_status(self, session: SessionOverview, message_uuid: UUID) -> str:
        async with self.database.read_only(max_seconds=REQUEST_TIMEOUT) as transaction:
            return await _get_status(transaction, session, message_uuid)


async def _get_session(transaction: DatabaseSession, session_uuid: UUID) -> SessionOverview:
    session = await admin_sessions.find(transaction, session_uuid)
    if session is None:
        raise NotFoundError
    return session


async def _get_status(transaction: DatabaseSession, session: SessionOverview, message_uuid: UUID) -> str:
    status = await admin_sessions.get_message_status(transaction, session.id, message_uuid)
    if status is None:
        raise NotFoundError
    return status


async def _record(
    transaction: DatabaseSession,
    action: AuditAction,
    admin: Principal,
    session: SessionOverview,
    origin: RequestOrigin,
    **details: object,
) -> None:
    # The owner is the target, so that the entry is part of the export of their data.
    entry = NewAuditEntry(
        action, actor=admin.uuid, target=session.owner_uuid, details={"session": str(session.uuid), **details}
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
