"""Dependencies that the services' routes share, as annotated aliases.

All of them are coroutines, because FastAPI runs each plain function in a thread.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request
from redis.asyncio import Redis

from app.config import Settings
from app.core.security import AccessTokens
from app.database.connection import Database, DatabaseSession
from app.database.repositories.audit.audit_log import RequestOrigin
from app.observability.logging import request_id_var
from app.observability.metrics import Metrics
from app.services.heartbeat import Heartbeat
from app.services.limits.admission import expensive_operation
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources that every service opens when it starts and closes in reverse order when it stops."""

    settings: Settings
    database: Database
    redis: Redis
    breaker: RedisCircuitBreaker
    """Circuit breaker of Redis, for features that work without it."""
    access_tokens: AccessTokens
    heartbeat: Heartbeat
    """Reports the state of this process to admins."""
    metrics: Metrics
    stopping: asyncio.Event
    """Set when the process receives a stop signal, shortly before its server stops accepting connections."""


async def get_resources(request: Request) -> Resources:
    """Return the resources of the process."""
    resources: Resources = request.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]


async def get_database(resources: ResourcesDep) -> Database:
    """Return the database, for routes that must not hold a connection during the whole request."""
    return resources.database


DatabaseDep = Annotated[Database, Depends(get_database)]


async def get_session(database: DatabaseDep) -> AsyncIterator[DatabaseSession]:
    """Open the transaction of the request. It takes a connection at its first statement."""
    async with database.transaction() as session:
        yield session


# With the scope "function" the commit precedes the response, so that a failed commit fails the request.
SessionDep = Annotated[DatabaseSession, Depends(get_session, scope="function")]


async def run_as_expensive() -> AsyncIterator[None]:
    """Process the request as an expensive one.

    Raises:
        TooManyRequestsError, OverloadedError: see `expensive_operation`.

    """
    async with expensive_operation():
        yield


EXPENSIVE = Depends(run_as_expensive, scope="function")
"""Dependency of routes that take seconds, such as reports."""


async def get_request_origin(request: Request) -> RequestOrigin:
    """Return address, user agent and id of the request. The address comes from the gateway, not from the client."""
    user_agent = request.headers.get("user-agent")
    try:
        ip = str(ip_address(request.client.host)) if request.client else None
    except ValueError:
        ip = None  # a Unix socket has no address
    return RequestOrigin(
        ip=ip, user_agent=_remove_nul(user_agent[:400]) if user_agent else None, request_id=request_id_var.get()
    )


RequestOriginDep = Annotated[RequestOrigin, Depends(get_request_origin)]


def _remove_nul(text: str) -> str:
    # PostgreSQL cannot store NUL. Surrogates cannot occur: headers are decoded as Latin-1.
    return text.replace("\x00", "")
