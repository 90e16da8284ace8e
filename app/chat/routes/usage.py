"""What the caller has used."""

from fastapi import APIRouter

from app.chat.dependencies import ServicesDep
from app.chat.schemas import UserUsage
from app.dependencies import ChatReader, SessionDep

router = APIRouter()


@router.get("/usage")
async def get_usage(user: ChatReader, services: ServicesDep, transaction: SessionDep) -> UserUsage:
    """Return what the caller has used today, this month and in all, up to this moment.

    Everything counts that a model was asked, also for answers that failed, were stopped, or have been deleted since.
    """
    return await services.sessions.get_usage(transaction, user.id)
