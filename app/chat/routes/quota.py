"""Quotas of the user."""

from fastapi import APIRouter

from app.chat.dependencies import ServicesDep
from app.http.authentication import ChatReader
from app.http.dependencies import SessionDep
from app.services.limits.quotas import QuotaStanding

router = APIRouter()


@router.get("/quota")
async def get_quota(user: ChatReader, services: ServicesDep, transaction: SessionDep) -> QuotaStanding:
    """Return the user's token and cost quotas per day and per month, and how much of them is used."""
    return await services.quotas.get_standing(transaction, user.id)
