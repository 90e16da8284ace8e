"""Usage of the user."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.chat.dependencies import ServicesDep
from app.http.authentication import ChatReader
from app.http.dependencies import SessionDep
from app.services.usage_schemas import UsageByDay, UserUsage

router = APIRouter()

Days = Annotated[int, Query(ge=1, le=366, description="Number of days, today included.")]


@router.get("/usage")
async def get_usage(user: ChatReader, services: ServicesDep, transaction: SessionDep) -> UserUsage:
    """Return the user's usage today, this month and in total, up to now.

    Every call of a model counts, including those for answers that failed, were cancelled, or were deleted later.
    """
    return await services.sessions.get_usage(transaction, user.id)


@router.get("/usage/days")
async def get_usage_by_day(
    user: ChatReader, services: ServicesDep, transaction: SessionDep, days: Days = 30
) -> UsageByDay:
    """Return the user's usage on each of the last days, up to now."""
    return await services.sessions.get_usage_by_day(transaction, user.id, days)
