"""Routes of session administration."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.admin import sessions
from app.admin.dependencies import SessionAdminDep
from app.admin.schemas.sessions import (
    Confirmation,
    MessageQuery,
    SessionInfo,
    SessionPage,
    SessionQuery,
    SessionReading,
    SessionText,
    StoppedMessage,
)
from app.http.authentication import AdminUser
from app.http.dependencies import DatabaseDep, RequestOriginDep, SessionDep
from app.http.errors import responses

router = APIRouter(prefix="/sessions", responses=responses(422))


@router.get("")
async def list_sessions(
    query: Annotated[SessionQuery, Query()], _admin: AdminUser, transaction: SessionDep
) -> SessionPage:
    """List the sessions of all users, newest first, without their text."""
    return await sessions.list_sessions(transaction, query)


@router.get("/{session_id}", responses=responses(404))
async def get_session(
    session_id: UUID, query: Annotated[MessageQuery, Query()], _admin: AdminUser, transaction: SessionDep
) -> SessionInfo:
    """Return a session with its newest messages of all branches, or those before one, without their text."""
    return await sessions.get_session(transaction, session_id, query)


@router.post("/{session_id}/read", responses=responses(400, 404, 413))
async def read_session(
    session_id: UUID, reading: SessionReading, admin: AdminUser, database: DatabaseDep, origin: RequestOriginDep
) -> SessionText:
    """Return the text of a session, after recording the access and its reason in the audit log."""
    return await sessions.read_session(database, admin, session_id, reading, origin)


@router.delete("/{session_id}", responses=responses(404))
async def delete_session(
    session_id: UUID, admin: AdminUser, service: SessionAdminDep, origin: RequestOriginDep
) -> Confirmation:
    """Permanently delete a session with its messages."""
    await service.delete(admin, session_id, origin)
    return Confirmation(message="Session deleted.")


@router.post("/{session_id}/messages/{message_id}/cancel", responses=responses(404))
async def cancel_message(
    session_id: UUID, message_id: UUID, admin: AdminUser, service: SessionAdminDep, origin: RequestOriginDep
) -> StoppedMessage:
    """Cancel an answer that is being generated. The response is sent when it has stopped, or after 6 seconds."""
    return await service.cancel_answer(admin, session_id, message_id, origin)
