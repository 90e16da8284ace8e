"""Application factory of the three services: logging, middleware, error handlers, health checks, shared resources."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Literal

from fastapi import APIRouter, FastAPI

from app.config import Settings
from app.core.security import AccessTokens
from app.core.shutdown import notify_on_shutdown
from app.database.connection import Database
from app.database.migrations import wait_for_schema
from app.http.dependencies import Resources
from app.http.errors import install_handlers, problem_schemas
from app.http.health import HealthChecks, health_router
from app.http.methods import MethodMiddleware, handle_method_not_allowed
from app.http.middleware import (
    BodyLimitMiddleware,
    ProblemCORSMiddleware,
    RequestContextMiddleware,
    UploadDrainMiddleware,
)
from app.http.rate_limiting import RateLimitMiddleware
from app.observability.logging import configure_logging
from app.services.heartbeat import Heartbeat
from app.services.limits.rate_limiter import RateLimiter
from app.services.redis.client import open_redis
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker

ServiceLifespan = Callable[[Resources], AbstractAsyncContextManager[dict[str, Any]]]
"""Opens the resources of one service; the mapping that it yields is merged into `request.state`."""


def create_app(  # noqa: PLR0913 - the differences between the services
    settings: Settings,
    *,
    service: Literal["auth", "chat", "admin"],
    description: str,
    router: APIRouter,
    lifespan: ServiceLifespan | None = None,
    max_body_bytes: int = 16_384,
    max_body_bytes_by_path: Mapping[str, int] | None = None,
    extra_schemas: Mapping[str, Any] | None = None,
) -> FastAPI:
    """Return the application of one service. Its resources are opened when its lifespan starts.

    `max_body_bytes` is the maximum size of a request body, `max_body_bytes_by_path` that of some paths below the
    prefix of the service. `extra_schemas` are components of the OpenAPI document that
    FastAPI does not generate.
    """
    configure_logging(
        service=f"{service}-service",
        level=settings.LOG_LEVEL,
        json_lines=settings.LOG_JSON,
        line_format=settings.LOG_FORMAT,
    )
    prefix = f"{settings.API_V1_STR}/{service}"
    app = FastAPI(
        title=f"{settings.PROJECT_NAME}: {service}",
        description=description,
        version=settings.VERSION,
        openapi_url=f"{prefix}/openapi.json" if settings.DEBUG else None,
        docs_url=f"{prefix}/docs" if settings.DEBUG else None,
        redoc_url=None,
        # A redirect would contain the `Host` header of the client.
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        lifespan=_lifespan(settings, service, lifespan),
    )
    # The first version that can describe event streams.
    app.openapi_version = "3.2.0"
    # The middleware that is added last is the outermost one.
    app.add_middleware(MethodMiddleware)
    upload_limits = {f"{prefix}{path}": limit for path, limit in (max_body_bytes_by_path or {}).items()}
    app.add_middleware(BodyLimitMiddleware, max_bytes=max_body_bytes, max_bytes_by_path=upload_limits)
    app.add_middleware(RateLimitMiddleware, prefix=f"{settings.API_V1_STR}/")
    app.add_middleware(UploadDrainMiddleware, max_bytes_by_path=upload_limits)
    app.add_middleware(
        ProblemCORSMiddleware,
        allow_origins=settings.CORS_ORIGINS,
        allow_credentials=True,
        allow_methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
        expose_headers=[
            "X-Request-ID",
            "Retry-After",
            "RateLimit",
            "RateLimit-Policy",
            "Idempotent-Replayed",
            "Content-Disposition",
        ],
    )
    app.add_middleware(RequestContextMiddleware)
    install_handlers(app)
    app.add_exception_handler(405, handle_method_not_allowed)
    app.include_router(health_router(settings, service))
    app.include_router(router, prefix=prefix, tags=[service])

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = FastAPI.openapi(app)
            document["components"]["schemas"].update(problem_schemas(), **(extra_schemas or {}))
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI documents it
    return app


def _lifespan(
    settings: Settings, service: Literal["auth", "chat", "admin"], service_lifespan: ServiceLifespan | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            database = Database.from_settings(settings, application_name=f"{service}-service")
            stack.push_async_callback(database.close)
            redis = open_redis(settings)
            stack.push_async_callback(redis.aclose)
            breaker = RedisCircuitBreaker(redis, budget=settings.REDIS_TIMEOUT)
            stack.push_async_callback(breaker.close)
            await wait_for_schema(database)
            heartbeat = Heartbeat(database, service=service, version=settings.VERSION)
            heartbeat.add_stats("database", database.pool_stats)
            heartbeat.add_stats("redis", breaker.stats)
            stack.push_async_callback(heartbeat.close)
            stopping = asyncio.Event()
            stack.enter_context(notify_on_shutdown(stopping))
            resources = Resources(
                settings=settings,
                database=database,
                redis=redis,
                breaker=breaker,
                access_tokens=AccessTokens(
                    key=settings.SECRET_KEY.get_secret_value(),
                    algorithm=settings.ALGORITHM,
                    lifetime=timedelta(minutes=settings.ACCESS_TOKEN_EXPIRE_MINUTES),
                ),
                heartbeat=heartbeat,
                stopping=stopping,
            )
            state: dict[str, Any] = {
                "resources": resources,
                "health": HealthChecks(resources),
                "rate_limits": RateLimiter(settings, redis, breaker),
            }
            if service_lifespan is not None:
                state |= await stack.enter_async_context(service_lifespan(resources))
            heartbeat.start()
            yield state

    return lifespan
