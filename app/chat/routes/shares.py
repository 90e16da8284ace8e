"""Shared conversations: those of the caller, and reading and copying one by its link."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from app.chat.dependencies import ServicesDep
from app.chat.http_responses import to_response
from app.chat.idempotency.header import IdempotencyKeyDep
from app.chat.schemas.sessions import Deleted, SessionResponse
from app.chat.schemas.shares import ShareCreate, SharedConversation, ShareList, ShareResponse
from app.chat.sharing.service import NOINDEX
from app.core.schema_types import Page, PageSize, ResponseModel
from app.http.authentication import ChatReader, ChatWriter
from app.http.dependencies import RequestOriginDep, SessionDep
from app.http.errors import responses

# Not checked here: malformed tokens get the same response as unknown ones.
Token = Annotated[str, Path(description="Token of a link.")]

router = APIRouter()


@router.post("/sessions/{session_id}/share", status_code=201, responses=responses(400, 404, 409, 413))
async def share_session(
    session_id: UUID, share: ShareCreate, user: ChatWriter, services: ServicesDep, origin: RequestOriginDep
) -> ShareResponse:
    """Share a snapshot of a session behind an unguessable link. A session has one link; see `keep_link`.

    Readers see texts, roles, status and times of the messages, and nothing about their author.
    """
    return await services.sharing.create(user, session_id, share, origin)


@router.get("/sessions/{session_id}/share", responses=responses(404))
async def get_share(
    session_id: UUID, user: ChatReader, services: ServicesDep, transaction: SessionDep
) -> ShareResponse:
    """Return the link of a shared session."""
    return await services.sharing.get(transaction, user.id, session_id)


@router.delete("/sessions/{session_id}/share", responses=responses(404))
async def revoke_share(
    session_id: UUID, user: ChatWriter, services: ServicesDep, transaction: SessionDep, origin: RequestOriginDep
) -> Deleted:
    """Revoke the link of a shared session, and delete its snapshot."""
    await services.sharing.revoke(transaction, user, session_id, origin)
    return Deleted(message="Share revoked.")


@router.get("/shares")
async def list_shares(
    user: ChatReader,
    services: ServicesDep,
    transaction: SessionDep,
    page: Annotated[Page, Query()] = 1,
    size: Annotated[PageSize, Query()] = 20,
) -> ShareList:
    """List the caller's shared conversations, the newest link first."""
    return await services.sharing.list_page(transaction, user.id, page=page, size=size)


@router.get("/shared/{token}", responses=responses(404))
async def read_share(token: Token, services: ServicesDep, response: Response) -> SharedConversation:
    """Return the snapshot behind a link. No login is needed."""
    response.headers.update(NOINDEX)
    return await services.sharing.read(token)


@router.post("/shared/{token}/clone", status_code=201, response_model=SessionResponse, responses=responses(404, 409))
async def copy_share(
    token: Token, user: ChatWriter, services: ServicesDep, origin: RequestOriginDep, key: IdempotencyKeyDep
) -> ResponseModel | Response:
    """Copy the snapshot behind a link into a new session of the caller.

    Without an idempotency key, each request makes another copy.
    """
    return to_response(await services.sharing.copy(user, token, key, origin))
