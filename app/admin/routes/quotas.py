"""Routes of the quotas of accounts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from app.admin import quotas
from app.admin.schemas.quotas import QuotaUpdate
from app.http.authentication import AdminUser
from app.http.dependencies import RequestOriginDep, ResourcesDep, SessionDep
from app.http.errors import responses
from app.services.limits.quotas import QuotaService, QuotaStanding, default_quota

router = APIRouter()


async def _get_quota_service(resources: ResourcesDep) -> QuotaService:
    """Return the quota service."""
    return QuotaService(resources.database, default_quota(resources.settings))


QuotaServiceDep = Annotated[QuotaService, Depends(_get_quota_service)]


@router.get("/users/{user_id}/quota", responses=responses(404, 422))
async def get_user_quota(
    user_id: UUID, _admin: AdminUser, transaction: SessionDep, service: QuotaServiceDep
) -> QuotaStanding:
    """Return the daily and monthly quotas of an account, and their use."""
    return await quotas.get_quota(transaction, service, user_id)


@router.put("/users/{user_id}/quota", responses=responses(400, 404, 413, 422))
async def change_user_quota(
    user_id: UUID,
    update: QuotaUpdate,
    admin: AdminUser,
    transaction: SessionDep,
    service: QuotaServiceDep,
    origin: RequestOriginDep,
) -> QuotaStanding:
    """Change the quotas of an account, from its next question on. Omitted fields are not changed."""
    return await quotas.change_quota(transaction, service, admin, user_id, update, origin)
