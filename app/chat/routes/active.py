"""Answers under way."""

from fastapi import APIRouter

from app.chat.dependencies import ServicesDep
from app.chat.schemas.active import ActiveAnswers
from app.http.authentication import ChatReader

router = APIRouter()


@router.get("/active")
async def list_active_answers(user: ChatReader, services: ServicesDep) -> ActiveAnswers:
    """Return the answers under way in all sessions of the user, the newest first.

    Their event streams can be followed, and they can be cancelled.
    """
    return await services.active_answers.list_all(user.id)
