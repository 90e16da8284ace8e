"""Sessions: create, list, read, change, delete; and delete or archive many at once."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.chat.dependencies import ServicesDep
from app.chat.http_responses import to_response
from app.chat.idempotency.header import IdempotencyKeyDep
from app.chat.schemas.session_selections import SessionArchiving, SessionsChanged, SessionSelection
from app.chat.schemas.sessions import (
    Deleted,
    SessionCreate,
    SessionCreated,
    SessionDetail,
    SessionList,
    SessionQuery,
    SessionUpdate,
    SessionWithSettings,
)
from app.core.schema_types import ResponseModel
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
    user: ChatReader, services: ServicesDep, transaction: SessionDep, query: Annotated[SessionQuery, Query()]
) -> SessionList:
    """List the user's sessions that are not archived, or the archived ones, by default the last used first.

    To read a list that changes meanwhile, pass `next_cursor` as `cursor`. Sessions that do not change meanwhile occur
    exactly once. By default, one that is used moves to the top of the list, before the parts that follow.
    """
    return await services.session_lists.list_sessions(transaction, user, query)


@router.post("/sessions/delete", responses=responses(400, 413))
async def delete_sessions(selection: SessionSelection, user: ChatWriter, services: ServicesDep) -> SessionsChanged:
    """Delete sessions, with the text of their messages, permanently. Unknown ids are reported; the others are deleted.

    If `is_complete` is false, send the request again for the rest.
    """
    return await services.bulk_sessions.delete(user.id, selection)


@router.post("/sessions/archive", responses=responses(400, 413))
async def archive_sessions(selection: SessionArchiving, user: ChatWriter, services: ServicesDep) -> SessionsChanged:
    """Archive sessions, or with `archived: false` return them to the list. Unknown ids are reported.

    If `is_complete` is false, send the request again for the rest.
    """
    return await services.bulk_sessions.archive(user.id, selection)


@router.get("/sessions/{session_id}", response_model_exclude_unset=True, responses=responses(404))
async def get_session(
    session_id: UUID,
    user: ChatReader,
    services: ServicesDep,
    transaction: SessionDep,
    *,
    include_messages: Annotated[bool, Query(description="Whether the response has messages.")] = True,
    message_limit: Annotated[
        int, Query(ge=1, le=200, description="Number of newest messages to return, oldest first.")
    ] = 50,
) -> SessionDetail:
    """Return a session, by default with its newest messages."""
    return await services.sessions.get_session(
        transaction, user.id, session_id, message_limit=message_limit if include_messages else None
    )


@router.patch("/sessions/{session_id}", responses=responses(400, 404, 413))
async def update_session(
    session_id: UUID, update: SessionUpdate, user: ChatWriter, services: ServicesDep, transaction: SessionDep
) -> SessionWithSettings:
    """Rename, archive, pin or tag a session, or change its context or model. Omitted fields are not changed.

    The session keeps its place in the list. Context and model apply to the next question.
    """
    return await services.sessions.update_session(transaction, user, session_id, update)


@router.delete("/sessions/{session_id}", responses=responses(404))
async def delete_session(session_id: UUID, user: ChatWriter, services: ServicesDep) -> Deleted:
    """Delete a session and the text of its messages permanently."""
    await services.sessions.delete_session(user.id, session_id)
    return Deleted(message="Session deleted.")
