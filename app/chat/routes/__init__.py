"""Routes of the chat service, one module per topic."""

from fastapi import APIRouter

from app.chat.routes import active, cancellation, models, questions, quota, sessions, streams, usage
from app.http.errors import responses

router = APIRouter(responses=responses(401, 403, 422, 429, 503))
for module in (questions, active, cancellation, models, quota, sessions, streams, usage):
    router.include_router(module.router)
