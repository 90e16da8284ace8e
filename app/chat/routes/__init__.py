"""Routes of the chat service, one module per topic."""

from fastapi import APIRouter

from app.chat.routes import (
    active,
    branches,
    cancellation,
    feedback,
    models,
    questions,
    quota,
    search,
    sessions,
    shares,
    streams,
    transfer,
    usage,
)
from app.http.errors import responses

router = APIRouter(responses=responses(401, 403, 422, 429, 503))
for module in (
    questions,
    active,
    branches,
    cancellation,
    feedback,
    models,
    quota,
    search,
    sessions,
    shares,
    streams,
    transfer,
    usage,
):
    router.include_router(module.router)
