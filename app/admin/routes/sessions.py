"""Everybody's sessions."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.admin import sessions
from app.admin.dependencies import SessionAdminDep
from app.admin.schemas.sessions import (
    Confirmation,
    SessionInfo,
    SessionPage,
    SessionQuery,
    SessionReading,
    SessionText,
    StoppedMessage,
)
from app.http.dependencies import AdminUser, DatabaseDep, RequestOriginDep, SessionDep
from app.http.errors import responses

router = APIRouter(prefix="/sessions", responses=responses(422))


@router.get("")
async def list_sessions(
    query: Annotated[SessionQuery, Query()], _admin: AdminUser, transaction: SessionDep
) -> SessionPage:
    """List sessions, newest first, without anything that somebody wrote."""
    return await sessions.list_sessions(transaction, query)


@router.get("/{session_id}", responses=responses(404))
async def get_session(session_id: UUID, _admin: AdminUser, transaction: SessionDep) -> SessionInfo:
    """Return a session with its newest messages, without anything that somebody wrote."""
    return await sessions.get_session(transaction, session_id)


@router.post("/{session_id}/read", responses=responses(400, 404, 413))
async def read_session(
    session_id: UUID, reading: SessionReading, admin: AdminUser, database: DatabaseDep, origin: RequestOriginDep
) -> SessionText:
    """Read what was written in a session. Before it is shown, the audit log has who read it, and why."""
    return await sessions.read_session(database, admin, session_id, reading, origin)


@router.delete("/{session_id}", responses=responses(404))
async def delete_session(
    session_id: UUID, admin: AdminUser, keeper: SessionAdminDep, origin: RequestOriginDep
) -> Confirmation:
    """Delete a session and the text of its messages for good, as its owner could."""
    await keeper.delete(admin, session_id, origin)
    return Confirmation(message="Session deleted.")


@router.post("/{session_id}/messages/{message_id}/cancel", responses=responses(404))
async def cancel_message(
    session_id: UUID, message_id: UUID, admin: AdminUser, keeper: SessionAdminDep, origin: RequestOriginDep
) -> StoppedMessage:
    """Stop an answer that is being made. The call answers when it has stopped, or after 6 s."""
    return await keeper.stop(admin, session_id, message_id, origin)
