"""Routes of the administration of shared conversations."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.admin import shares
from app.admin.schemas.sessions import Confirmation
from app.admin.schemas.shares import SharePage, ShareQuery
from app.http.authentication import AdminUser
from app.http.dependencies import RequestOriginDep, SessionDep
from app.http.errors import responses

router = APIRouter(prefix="/shares", responses=responses(422))


@router.get("")
async def list_shares(query: Annotated[ShareQuery, Query()], _admin: AdminUser, transaction: SessionDep) -> SharePage:
    """List the shared conversations of all users, without their text and their links."""
    return await shares.list_shares(transaction, query)


@router.delete("/{share_id}", responses=responses(404))
async def revoke_share(
    share_id: UUID, admin: AdminUser, transaction: SessionDep, origin: RequestOriginDep
) -> Confirmation:
    """Revoke the link of a shared conversation, and delete its snapshot."""
    await shares.revoke(transaction, admin, share_id, origin)
    return Confirmation(message="Share revoked.")
