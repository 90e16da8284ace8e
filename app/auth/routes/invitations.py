"""Routes for admins to invite people."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.auth.dependencies import ServicesDep
from app.auth.schemas.accounts import Done
from app.auth.schemas.invitations import InvitationCreate, InvitationList, InvitationResponse
from app.core.schema_types import Page, PageSize
from app.http.authentication import AdminUser
from app.http.dependencies import RequestOriginDep, SessionDep
from app.http.errors import responses

router = APIRouter(prefix="/admin", responses=responses(401, 403, 422))


@router.post("/users", status_code=201, responses=responses(400, 409, 413))
async def invite_user(
    new: InvitationCreate, admin: AdminUser, services: ServicesDep, origin: RequestOriginDep
) -> InvitationResponse:
    """Invite a person by email, who chooses user name and password with the link in it.

    An earlier invitation of the address stops working.
    """
    return await services.invitations.create(admin, new, origin)


@router.get("/invitations")
async def list_invitations(
    _admin: AdminUser,
    services: ServicesDep,
    session: SessionDep,
    page: Annotated[Page, Query()] = 1,
    size: Annotated[PageSize, Query()] = 20,
) -> InvitationList:
    """List the invitations that can still be used, newest first."""
    return await services.invitations.list_page(session, page=page, size=size)


@router.delete("/invitations/{invitation_id}", responses=responses(404))
async def revoke_invitation(
    invitation_id: UUID, admin: AdminUser, services: ServicesDep, session: SessionDep, origin: RequestOriginDep
) -> Done:
    """Revoke an invitation. Its link stops working at once."""
    await services.invitations.revoke(session, admin, invitation_id, origin)
    return Done(message="Invitation revoked.")
