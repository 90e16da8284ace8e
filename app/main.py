"""Entry point of the chat service: `uvicorn app.main:app`."""

import gc

from fastapi import FastAPI

from app.chat.lifespan import lifespan
from app.chat.openai_api.routes import router as openai_router
from app.chat.routes import router
from app.chat.streaming.openapi import event_schemas
from app.config import Settings, get_settings
from app.http import openai_errors
from app.http.application import create_app

_OBJECTS_PER_COLLECTION = 20_000
"""Number of new objects after which Python looks for unreachable ones among them, in about 2 ms."""


def create(settings: Settings) -> FastAPI:
    """Return the application of the chat service."""
    return create_app(
        settings,
        service="chat",
        description="Conversations, answered by the LangGraph pipeline.",
        router=router,
        openai_router=openai_router,
        lifespan=lifespan,
        extra_schemas=event_schemas() | openai_errors.schemas(),
        # A message of 32 000 characters, each escaped in JSON as 12 bytes, and a context.
        max_body_bytes=409_600,
        max_body_bytes_by_path={"/import": settings.IMPORT_MAX_BYTES},
        openai_max_body_bytes=4_194_304,
    )


app = create(get_settings())

# Imported objects are never freed. Without the freeze each full collection scans them, which blocks all streams for
# about 0.15 s.
gc.collect()
gc.freeze()
# Most objects of a turn are freed by their reference count. With Python's default of 700 new objects, a turn causes
# dozens of collections.
gc.set_threshold(_OBJECTS_PER_COLLECTION)
