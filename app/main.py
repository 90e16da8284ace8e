"""The chat service: `uvicorn app.main:app`."""

import gc

from fastapi import FastAPI

from app.chat.lifespan import lifespan
from app.chat.routes import router
from app.chat.streaming.openapi import event_schemas
from app.config import Settings, get_settings
from app.http.application import create_app


def create(settings: Settings) -> FastAPI:
    """Build the service."""
    return create_app(
        settings,
        service="chat",
        description="Conversations, answered by the LangGraph pipeline.",
        router=router,
        lifespan=lifespan,
        more_schemas=event_schemas(),
        # 32 000 characters of a message at 12 bytes each, as JSON may escape them, and a context.
        max_body_bytes=409_600,
    )


app = create(get_settings())

# What has been imported stays for good. Looking through all of it for garbage would hold up every stream for 0.15 s.
gc.collect()
gc.freeze()
