"""What the admin service opens besides the shared resources, and how its routes get at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Request

from app.admin.sessions import SessionKeeper
from app.http.dependencies import Resources
from app.services.redis.cache_purger import running_cleaner
from app.services.redis.cancel_channel import StopChannel


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open what only this service needs."""
    # It only tells, and does not listen.
    channel = StopChannel(resources.breaker, resources.redis)
    async with running_cleaner(resources.breaker) as cleaner:
        yield {"session_keeper": SessionKeeper(resources.database, cleaner, channel)}


async def _get_session_keeper(request: Request) -> SessionKeeper:
    keeper: SessionKeeper = request.state.session_keeper
    return keeper


SessionKeeperDep = Annotated[SessionKeeper, Depends(_get_session_keeper)]
