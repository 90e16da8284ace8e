"""Routes for admins to list, read, update and erase accounts, and to send links that reset their passwords."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.auth.dependencies import ServicesDep
from app.auth.schemas.accounts import AdminUserList, AdminUserResponse, AdminUserUpdate, Done
from app.auth.schemas.privacy import ErasureReceipt
from app.auth.validators import Role
from app.core.exceptions import NotFoundError
from app.core.schema_types import Page, PageSize, Pagination, SearchText
from app.database.models import User
from app.database.repositories.accounts import users
from app.http.authentication import AdminUser
from app.http.dependencies import RequestOriginDep, SessionDep
from app.http.errors import responses

router = APIRouter(prefix="/admin/users", responses=responses(401, 403, 422))


@router.get("")
async def list_users(
    _admin: AdminUser,
    session: SessionDep,
    *,
    page: Annotated[Page, Query()] = 1,
    size: Annotated[PageSize, Query()] = 20,
    search: Annotated[
        SearchText | None, Query(description="Part of an address or a name, literal. Case does not matter.")
    ] = None,
    is_active: Annotated[bool | None, Query(description="Enabled accounts only, or disabled ones only.")] = None,
    role: Annotated[Role | None, Query(description="Accounts with this role.")] = None,
) -> AdminUserList:
    """List accounts, newest first."""
    rows, total = await users.list_page(session, page=page, size=size, search=search, is_active=is_active, role=role)
    return AdminUserList(
        users=[AdminUserResponse.model_validate(row) for row in rows],
        pagination=Pagination.of(total=total, page=page, size=size),
    )


@router.get("/{user_id}", response_model=AdminUserResponse, responses=responses(404))
async def get_user(user_id: UUID, _admin: AdminUser, session: SessionDep) -> User:
    """Return an account."""
    user = await users.find(session, user_id)
    if user is None:
        raise NotFoundError
    return user


@router.put("/{user_id}", responses=responses(400, 404, 409, 413))
async def update_user(
    user_id: UUID, update: AdminUserUpdate, admin: AdminUser, services: ServicesDep, origin: RequestOriginDep
) -> AdminUserResponse:
    """Update the role, state or full name of an account; fields that are left out stay unchanged.

    A disabled account cannot log in, and its logins end permanently. The last active admin can be neither demoted nor
    disabled.
    """
    return await services.users.update(admin, user_id, update, origin)


@router.post("/{user_id}/password-reset", status_code=202, responses=responses(404, 409))
async def send_password_reset(user_id: UUID, admin: AdminUser, services: ServicesDep, origin: RequestOriginDep) -> Done:
    """Send a link to the owner of an account, with which the owner sets a new password."""
    await services.users.send_password_reset(admin, user_id, origin)
    return Done(message="An email with a link is sent to the owner of the account.")


@router.delete("/{user_id}", responses=responses(404, 409))
async def erase_user(
    user_id: UUID, admin: AdminUser, services: ServicesDep, origin: RequestOriginDep
) -> ErasureReceipt:
    """Erase an account irrevocably, as its owner can do. Admins erase their own account with `DELETE /me`."""
    return await services.erasure.erase_by_admin(admin, user_id, origin)
