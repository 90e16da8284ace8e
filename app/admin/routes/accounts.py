"""What single accounts do."""

from uuid import UUID

from fastapi import APIRouter

from app.admin import accounts
from app.core.handlers import responses
from app.dependencies import AdminUser, SessionDep
from app.services.used import UserUsage

router = APIRouter()


@router.get("/users/{user_id}/usage", responses=responses(404, 422))
async def get_user_usage(user_id: UUID, _admin: AdminUser, transaction: SessionDep) -> UserUsage:
    """Return what an account has used today, this month and in all, up to this moment."""
    return await accounts.used(transaction, user_id)
