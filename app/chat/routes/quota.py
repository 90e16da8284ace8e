"""What the caller may still use."""

from fastapi import APIRouter

from app.chat.dependencies import ServicesDep
from app.http.dependencies import ChatReader, SessionDep
from app.services.limits.quotas import QuotaStanding

router = APIRouter()


@router.get("/quota")
async def get_quota(user: ChatReader, services: ServicesDep, transaction: SessionDep) -> QuotaStanding:
    """Return what the caller's answers may use in a day and in a month, and what they have used."""
    return await services.quotas.standing(transaction, user.id)
