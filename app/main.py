"""The chat service: `uvicorn app.main:app`."""

from fastapi import FastAPI

from app.bootstrap import create_app
from app.chat.routes import lifespan, router
from app.config import Settings, get_settings


def create(settings: Settings) -> FastAPI:
    """Build the service."""
    return create_app(
        settings,
        service="chat",
        description="Conversations, answered by the LangGraph pipeline.",
        router=router,
        lifespan=lifespan,
    )


app = create(get_settings())
