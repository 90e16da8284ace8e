"""Usage of the user."""

from fastapi import APIRouter

from app.chat.dependencies import ServicesDep
from app.http.authentication import ChatReader
from app.http.dependencies import SessionDep
from app.services.usage_schemas import UserUsage

router = APIRouter()


@router.get("/usage")
async def get_usage(user: ChatReader, services: ServicesDep, transaction: SessionDep) -> UserUsage:
    """Return the user's usage today, this month and in total, up to now.

    Every call of a model counts, including those for answers that failed, were cancelled, or were deleted later.
    """
    return await services.sessions.get_usage(transaction, user.id)
