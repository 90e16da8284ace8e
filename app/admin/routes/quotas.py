"""What accounts may use of models."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from app.admin import quotas
from app.admin.schemas.quotas import QuotaUpdate
from app.http.dependencies import AdminUser, RequestOriginDep, ResourcesDep, SessionDep
from app.http.errors import responses
from app.services.limits.quotas import QuotaService, QuotaStanding, default_quota

router = APIRouter()


async def get_quotas(resources: ResourcesDep) -> QuotaService:
    """Return what decides about quotas."""
    return QuotaService(resources.database, default_quota(resources.settings))


QuotasDep = Annotated[QuotaService, Depends(get_quotas)]


@router.get("/users/{user_id}/quota", responses=responses(404, 422))
async def get_user_quota(
    user_id: UUID, _admin: AdminUser, transaction: SessionDep, service: QuotasDep
) -> QuotaStanding:
    """Return what an account may use of models in a day and in a month, and what it has used."""
    return await quotas.get_quota(transaction, service, user_id)


@router.put("/users/{user_id}/quota", responses=responses(400, 404, 413, 422))
async def change_user_quota(
    user_id: UUID,
    wanted: QuotaUpdate,
    admin: AdminUser,
    transaction: SessionDep,
    service: QuotasDep,
    origin: RequestOriginDep,
) -> QuotaStanding:
    """Change the quotas of an account; what is absent stays as it is. They hold from its next question on."""
    return await quotas.change_quota(transaction, service, admin, user_id, wanted, origin)
