"""Lifespan of the admin service, and the dependencies of its routes."""

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
    """Open the resources that only the admin service needs; yield the lifespan state."""
    # Used to publish only: this service does not subscribe to cancellations.
    cancel_channel = CancelChannel(resources.breaker, resources.redis)
    async with running_cache_purger(resources.breaker) as cache_purger:
        yield {"session_admin": SessionAdminService(resources.database, cache_purger, cancel_channel)}


async def _get_session_admin(request: Request) -> SessionAdminService:
    service: SessionAdminService = request.state.session_admin
    return service


SessionAdminDep = Annotated[SessionAdminService, Depends(_get_session_admin)]
