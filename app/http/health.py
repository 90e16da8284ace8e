"""Health, readiness and liveness routes."""

import asyncio
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from app.config import Settings
from app.core.exceptions import DatabaseBusyError, DatabaseUnavailableError
from app.http.dependencies import Resources
from app.services.llm.circuit_breaker import BreakerState
from app.services.redis.client import is_reachable

CACHE_SECONDS = 4.0
"""Seconds for which a result is cached. The gateway's `/health` queries an unhealthy service twice in succession."""


class Health(BaseModel):
    """State of a service."""

    status: Literal["healthy", "degraded", "unhealthy", "stopping"] = Field(
        description="`degraded`: Redis is unavailable, all features still work. "
        "`unhealthy`: PostgreSQL is unavailable. `stopping`: the process is shutting down."
    )
    service: str
    version: str
    checks: dict[str, Literal["up", "down"]]
    graph_ready: bool | None = Field(None, description="Chat service only: whether the graph is compiled.")
    requests: dict[str, Any] | None = Field(
        None, description="`/readyz` only: requests that run and wait, their limits, and the number of refused ones."
    )
    models: dict[str, BreakerState] | None = Field(
        None, description="Chat service, `/readyz` only: circuit breaker states."
    )


@dataclass(slots=True)
class HealthChecks:
    """Checks PostgreSQL and Redis, at most once per `CACHE_SECONDS`."""

    resources: Resources
    _results: dict[str, Literal["up", "down"]] = field(default_factory=dict)
    _expires_at: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> dict[str, Literal["up", "down"]]:
        """Return the state of PostgreSQL and Redis, from the cache if it is recent."""
        async with self._lock:
            if time.monotonic() >= self._expires_at:
                redis_timeout = self.resources.settings.REDIS_TIMEOUT
                database, redis = await asyncio.gather(
                    self._database_is_reachable(), is_reachable(self.resources.redis, max_seconds=redis_timeout)
                )
                self._results = {"database": "up" if database else "down", "redis": "up" if redis else "down"}
                self._expires_at = time.monotonic() + CACHE_SECONDS
            return self._results

    async def _database_is_reachable(self) -> bool:
        try:
            await self.resources.database.ping()
        except DatabaseBusyError:
            # All connections are in use: what other operations have last seen counts.
            return self.resources.database.seconds_since_recovery() > 0
        except DatabaseUnavailableError:
            return False
        return True


def health_router(settings: Settings, service: str) -> APIRouter:
    """Return the routes for load balancers, container health checks and operators, which have no API prefix."""
    # Not in the OpenAPI document: the gateway exposes them under other paths, or not at all.
    router = APIRouter(include_in_schema=False)

    async def check(request: Request, response: Response) -> Health:
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
        """Return the state of the service and its dependencies. 503 if it cannot serve requests."""
        return await check(request, response)

    @router.get("/readyz", response_model_exclude_none=True)
    async def ready(request: Request, response: Response) -> Health:
        """Return whether the service accepts requests. 503 if not."""
        health = await check(request, response)
        health.requests = request.state.admission.stats()
        if (breakers := getattr(request.state, "breakers", None)) is not None:
            health.models = breakers.states
        return health

    @router.get("/livez")
    async def live() -> dict[str, str]:
        """Confirm that the process responds, regardless of the state of its dependencies."""
        return {"status": "alive"}

    return router
