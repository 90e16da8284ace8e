"""Routes of the chat service, one module per topic."""

from fastapi import APIRouter

from app.chat.routes import cancellation, models, questions, quota, search, sessions, streams, usage
from app.http.errors import responses

router = APIRouter(responses=responses(401, 403, 422, 429, 503))
for module in (questions, cancellation, models, quota, search, sessions, streams, usage):
    router.include_router(module.router)
