"""Entry point of the chat service: `uvicorn app.main:app`."""

import gc

from fastapi import FastAPI

from app.chat.lifespan import lifespan
from app.chat.routes import router
from app.chat.streaming.openapi import event_schemas
from app.config import Settings, get_settings
from app.http.application import create_app


def create(settings: Settings) -> FastAPI:
    """Return the application of the chat service."""
    return create_app(
        settings,
        service="chat",
        description="Conversations, answered by the LangGraph pipeline.",
        router=router,
        lifespan=lifespan,
        extra_schemas=event_schemas(),
        # A message of 32 000 characters, each escaped in JSON as 12 bytes, and a context.
        max_body_bytes=409_600,
        max_body_bytes_by_path={"/import": settings.IMPORT_MAX_BYTES},
    )


app = create(get_settings())

# Imported objects are never freed. Without the freeze each full collection scans them, which blocks all streams for
# about 0.15 s.
gc.collect()
gc.freeze()
