"""The models that may be asked."""

from fastapi import APIRouter

from app.chat.dependencies import ServicesDep
from app.chat.schemas.models import ModelList
from app.http.dependencies import ChatReader

router = APIRouter()


@router.get("/models")
async def list_models(_user: ChatReader, services: ServicesDep) -> ModelList:
    """List the models that a question may name, the default first, with what they hold and cost."""
    return services.questions.models()
