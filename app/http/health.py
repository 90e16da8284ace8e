"""Whether a service can serve, and what it lacks."""

import asyncio
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.http.dependencies import Resources
from app.services.llm.circuit_breaker import State
from app.services.redis.client import is_reachable

CACHE_SECONDS = 4.0
"""How long a finding is good. The gateway's `/health` asks a service that is not well twice, one after the other."""


class Health(BaseModel):
    """State of one service."""

    status: Literal["healthy", "degraded", "unhealthy", "stopping"] = Field(
        description="`degraded`: Redis is away, everything still works. `unhealthy`: PostgreSQL is away. "
        "`stopping`: the process has been told to stop."
    )
    service: str
    version: str
    checks: dict[str, Literal["up", "down"]]
    graph_ready: bool | None = Field(None, description="Chat service only: the pipeline is compiled.")
    models: dict[str, State] | None = Field(None, description="Chat service, `/readyz` only: the models' breakers.")


@dataclass(slots=True)
class HealthChecks:
    """Looks at what the service needs, at most once in `CACHE_SECONDS` however often it is asked."""

    resources: Resources
    _results: dict[str, Literal["up", "down"]] = field(default_factory=dict)
    _good_until: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> dict[str, Literal["up", "down"]]:
        """Return the state of PostgreSQL and Redis."""
        async with self._lock:
            if time.monotonic() >= self._good_until:
                redis_timeout = self.resources.settings.REDIS_TIMEOUT
                database, redis = await asyncio.gather(
                    self._database_is_reachable(), is_reachable(self.resources.redis, max_seconds=redis_timeout)
                )
                self._results = {"database": "up" if database else "down", "redis": "up" if redis else "down"}
                self._good_until = time.monotonic() + CACHE_SECONDS
            return self._results

    async def _database_is_reachable(self) -> bool:
        try:
            await self.resources.database.ping()
        except DatabaseUnavailableError:
            return False
        return True


def health_router(settings: Settings, service: str) -> APIRouter:
    """Make the routes that balancers, containers and operators ask. They lie outside the API's prefix."""
    # Not in the API's documents: through the gateway these paths are others, or none.
    router = APIRouter(include_in_schema=False)

    async def state(request: Request, response: Response) -> Health:
        checks = await request.state.health.run()
        status: Literal["healthy", "degraded", "unhealthy", "stopping"] = "healthy"
        is_stopping = request.state.resources.stopping.is_set()
        if is_stopping or checks["database"] == "down":
            status = "stopping" if is_stopping else "unhealthy"
            response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
            response.headers["Retry-After"] = "2"
        elif checks["redis"] == "down":
            status = "degraded"
        return Health(
            status=status,
            service=f"{service}-service",
            version=settings.VERSION,
            checks=checks,
            graph_ready=hasattr(request.state, "graph") if service == "chat" else None,
        )

    @router.get("/health", response_model_exclude_none=True)
    async def health(request: Request, response: Response) -> Health:
        """Tell how the service and what it needs are doing. 503 when it cannot serve."""
        return await state(request, response)

    @router.get("/readyz", response_model_exclude_none=True)
    async def ready(request: Request, response: Response) -> Health:
        """Tell whether to send requests here. 503 when not."""
        health = await state(request, response)
        if (breakers := getattr(request.state, "breakers", None)) is not None:
            health.models = breakers.states
        return health

    @router.get("/livez")
    async def live() -> dict[str, str]:
        """Tell that the process answers, whatever the state of what it needs."""
        return {"status": "alive"}

    return router
