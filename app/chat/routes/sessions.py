"""Sessions: create, list, read, delete."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.chat.dependencies import ServicesDep
from app.chat.http_responses import to_response
from app.chat.idempotency.header import IdempotencyKeyDep
from app.chat.schemas.sessions import Deleted, SessionCreate, SessionCreated, SessionDetail, SessionList
from app.core.schema_types import Page, PageSize, ResponseModel, SearchText
from app.http.authentication import ChatReader, ChatWriter
from app.http.dependencies import SessionDep
from app.http.errors import responses

router = APIRouter()


@router.post(
    "/sessions",
    status_code=201,
    response_model=SessionCreated,
    response_model_exclude_unset=True,
    responses=responses(400, 409, 413),
)
async def create_session(
    new: SessionCreate, user: ChatWriter, services: ServicesDep, key: IdempotencyKeyDep
) -> ResponseModel | Response:
    """Create a session. With `initial_message`, the first question is answered too."""
    return to_response(await services.sessions.create_session(user, new, key))


@router.get("/sessions")
async def list_sessions(
    user: ChatReader,
    services: ServicesDep,
    transaction: SessionDep,
    page: Annotated[Page, Query()] = 1,
    size: Annotated[PageSize, Query()] = 20,
    search: Annotated[
        SearchText | None, Query(description="Words that must all occur in the title or in one message.")
    ] = None,
) -> SessionList:
    """List the user's sessions, the most recently used first."""
    return await services.sessions.list_sessions(transaction, user.id, page=page, size=size, search=search)


@router.get("/sessions/{session_id}", response_model_exclude_unset=True, responses=responses(404))
async def get_session(
    session_id: UUID,
    user: ChatReader,
    services: ServicesDep,
    transaction: SessionDep,
    *,
    include_messages: Annotated[bool, Query()] = True,
    message_limit: Annotated[
        int, Query(ge=1, le=200, description="Number of newest messages to return, oldest first.")
    ] = 50,
) -> SessionDetail:
    """Return a session, by default with its newest messages."""
    return await services.sessions.get_session(
        transaction, user.id, session_id, message_limit=message_limit if include_messages else None
    )


@router.delete("/sessions/{session_id}", responses=responses(404))
async def delete_session(session_id: UUID, user: ChatWriter, services: ServicesDep) -> Deleted:
    """Delete a session and the text of its messages permanently."""
    await services.sessions.delete_session(user.id, session_id)
    return Deleted(message="Session deleted.")
