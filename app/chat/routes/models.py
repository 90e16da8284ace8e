"""Models that a question may request."""

from fastapi import APIRouter

from app.chat.dependencies import ServicesDep
from app.chat.schemas.models import ModelList
from app.http.authentication import ChatReader

router = APIRouter()


@router.get("/models")
async def list_models(_user: ChatReader, services: ServicesDep) -> ModelList:
    """List the models that a question may request, the default model first, with context window and prices."""
    return services.questions.available_models()
