"""Resources of the admin service: opened in its lifespan, closed in the reverse order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from app.admin.sessions import SessionAdminService
from app.http.dependencies import Resources
from app.services.redis.cancel_channel import CancelChannel
from app.services.redis.deleted_session_purger import running_deleted_session_purger


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Open the resources that only the admin service needs; yield the lifespan state."""
    # Used to publish only: this service does not subscribe to cancellations.
    cancel_channel = CancelChannel(resources.breaker, resources.redis)
    async with running_deleted_session_purger(resources.breaker) as deleted_session_purger:
        yield {"session_admin": SessionAdminService(resources.database, deleted_session_purger, cancel_channel)}
