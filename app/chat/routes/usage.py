"""What the caller has used."""

from fastapi import APIRouter

from app.chat.dependencies import ServicesDep
from app.http.dependencies import ChatReader, SessionDep
from app.services.usage_schemas import UserUsage

router = APIRouter()


@router.get("/usage")
async def get_usage(user: ChatReader, services: ServicesDep, transaction: SessionDep) -> UserUsage:
    """Return what the caller has used today, this month and in all, up to this moment.

    Everything counts that a model was asked, also for answers that failed, were stopped, or have been deleted since.
    """
    return await services.sessions.get_usage(transaction, user.id)
