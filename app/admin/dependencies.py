"""What the admin service opens besides the shared resources, and how its routes get at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Request

from app.admin.sessions import SessionAdminService
from app.http.dependencies import Resources
from app.services.redis.cache_purger import running_cache_purger
from app.services.redis.cancel_channel import CancelChannel


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open what only this service needs."""
    # It only tells, and does not listen.
    channel = CancelChannel(resources.breaker, resources.redis)
    async with running_cache_purger(resources.breaker) as cache_purger:
        yield {"session_keeper": SessionAdminService(resources.database, cache_purger, channel)}


async def _get_session_admin(request: Request) -> SessionAdminService:
    keeper: SessionAdminService = request.state.session_keeper
    return keeper


SessionAdminDep = Annotated[SessionAdminService, Depends(_get_session_admin)]
