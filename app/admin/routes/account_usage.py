"""Route of the usage of a single account."""

from uuid import UUID

from fastapi import APIRouter

from app.admin import account_usage
from app.http.authentication import AdminUser
from app.http.dependencies import SessionDep
from app.http.errors import responses
from app.services.usage_schemas import UserUsage

router = APIRouter()


@router.get("/users/{user_id}/usage", responses=responses(404, 422))
async def get_user_usage(user_id: UUID, _admin: AdminUser, transaction: SessionDep) -> UserUsage:
    """Return the usage of an account today, this month and in total."""
    return await account_usage.get_user_usage(transaction, user_id)
