"""Application factory of the three services: logging, middleware, error handlers, health checks, shared resources."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, FastAPI

from app.config import Settings
from app.core.security import AccessTokens
from app.core.shutdown import notify_on_shutdown
from app.database.connection import Database
from app.database.schema_version import wait_for_schema
from app.http import openai_errors
from app.http.admission import AdmissionMiddleware
from app.http.api_document import describe_path_parameters, remove_null_from_parameters
from app.http.dependencies import Resources
from app.http.error_codes import enumerate_codes
from app.http.errors import install_handlers, problem_schemas
from app.http.field_examples import add_examples
from app.http.health import HealthChecks, health_router
from app.http.json_size import JsonSizeMiddleware
from app.http.methods import MethodMiddleware, handle_method_not_allowed
from app.http.metrics import RequestMetrics, metrics_router
from app.http.middleware import (
    CORS_HEADERS,
    CORS_METHODS,
    EXPOSED_HEADERS,
    BodyLimitMiddleware,
    ProblemCORSMiddleware,
    RequestContextMiddleware,
)
from app.http.openai_errors import OpenAIErrorMiddleware
from app.http.rate_limiting import RateLimitMiddleware
from app.http.request_body import RequestBodyMiddleware, UploadDrainMiddleware
from app.observability.logging import configure_logging
from app.observability.metrics import Metrics, StateCollector
from app.observability.tracing import exporting_traces
from app.services.heartbeat import Heartbeat
from app.services.limits.admission import AdmissionControl
from app.services.limits.rate_limiter import RateLimiter
from app.services.redis.client import open_redis
from app.services.redis.redis_circuit_breaker import RedisCircuitBreaker

OPENAI_COMPLETIONS = f"{openai_errors.PREFIX}/chat/completions"

ServiceLifespan = Callable[[Resources], AbstractAsyncContextManager[dict[str, Any]]]
"""Opens the resources of one service; the mapping that it yields is merged into `request.state`."""


def create_app(  # noqa: PLR0913 - the differences between the services
    settings: Settings,
    *,
    service: Literal["auth", "chat", "admin"],
    description: str,
    router: APIRouter,
    openai_router: APIRouter | None = None,
    openai_max_body_bytes: int = 0,
    lifespan: ServiceLifespan | None = None,
    max_body_bytes: int = 16_384,
    max_body_bytes_by_path: Mapping[str, int] | None = None,
    extra_schemas: Mapping[str, Any] | None = None,
) -> FastAPI:
    """Return the application of one service. Its resources are opened when its lifespan starts.

    `max_body_bytes` is the maximum size of a request body, `max_body_bytes_by_path` that of some paths below the
    prefix of the service. `extra_schemas` are components of the OpenAPI document that FastAPI does not generate.
    `openai_router` has the routes of the OpenAI-compatible API, with another maximum size.
    """
    configure_logging(
        service=f"{service}-service",
        level=settings.LOG_LEVEL,
        json_lines=settings.LOG_JSON,
        line_format=settings.LOG_FORMAT,
    )
    prefix = f"{settings.API_V1_STR}/{service}"
    metrics = Metrics(service=f"{service}-service", version=settings.VERSION)
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
        lifespan=_lifespan(settings, service, metrics, lifespan),
    )
    # The first version that can describe event streams.
    app.openapi_version = "3.2.0"
    upload_limits = {f"{prefix}{path}": limit for path, limit in (max_body_bytes_by_path or {}).items()}
    limits_by_path = upload_limits | {OPENAI_COMPLETIONS: openai_max_body_bytes}
    _add_middleware(app, settings, max_body_bytes, limits_by_path, upload_limits)
    app.add_middleware(RequestContextMiddleware, metrics=RequestMetrics(metrics))
    if openai_router is not None:
        app.add_middleware(OpenAIErrorMiddleware)
    install_handlers(app)
    app.add_exception_handler(405, handle_method_not_allowed)
    app.include_router(health_router(settings, service))
    app.include_router(metrics_router(metrics))
    app.include_router(router, prefix=prefix, tags=[service])
    if openai_router is not None:
        app.include_router(openai_router, prefix=openai_errors.PREFIX, tags=["openai"])
    app.openapi = partial(_openapi, app, extra_schemas or {})  # type: ignore[method-assign] # as FastAPI documents it
    return app


def _add_middleware(
    app: FastAPI,
    settings: Settings,
    max_body_bytes: int,
    max_bytes_by_path: Mapping[str, int],
    upload_limits: Mapping[str, int],
) -> None:
    """Add the middleware between the request context and the routes. What is added last is the outermost one."""
    prefixes = (f"{settings.API_V1_STR}/", f"{openai_errors.PREFIX}/")
    app.add_middleware(MethodMiddleware)
    app.add_middleware(JsonSizeMiddleware, other_paths=upload_limits)
    app.add_middleware(
        BodyLimitMiddleware,
        max_bytes=max_body_bytes,
        max_bytes_by_path=max_bytes_by_path,
        max_seconds=settings.REQUEST_BODY_TIMEOUT,
    )
    app.add_middleware(RateLimitMiddleware, prefixes=prefixes)
    app.add_middleware(AdmissionMiddleware, prefixes=prefixes)
    app.add_middleware(UploadDrainMiddleware, max_bytes_by_path=upload_limits)
    app.add_middleware(
        RequestBodyMiddleware,
        max_bytes=max_body_bytes,
        max_seconds=settings.REQUEST_BODY_TIMEOUT,
        streamed_paths=upload_limits,
    )
    app.add_middleware(
        ProblemCORSMiddleware,
        allow_origins=settings.CORS_ORIGINS,
        allow_credentials=True,
        allow_methods=CORS_METHODS,
        allow_headers=CORS_HEADERS,
        expose_headers=EXPOSED_HEADERS,
    )


def _openapi(app: FastAPI, extra_schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI document of an application, which FastAPI generates in part."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        document["components"]["schemas"].update(problem_schemas(), **extra_schemas)
        openai_errors.remove_validation_errors(document)
        enumerate_codes(document)
        describe_path_parameters(document)
        remove_null_from_parameters(document)
        add_examples(document)
        app.openapi_schema = document
    return app.openapi_schema


def _lifespan(
    settings: Settings,
    service: Literal["auth", "chat", "admin"],
    metrics: Metrics,
    service_lifespan: ServiceLifespan | None,
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(
                exporting_traces(
                    service=f"{service}-service",
                    version=settings.VERSION,
                    endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT,
                    ratio=settings.OTEL_TRACES_SAMPLER_ARG,
                )
            )
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
            admission = AdmissionControl(settings)
            heartbeat.add_stats("requests", admission.stats)
            stack.push_async_callback(heartbeat.close)
            stopping = asyncio.Event()
            stack.enter_context(notify_on_shutdown(stopping))
            resources = Resources(
                settings=settings,
                database=database,
                redis=redis,
                breaker=breaker,
                access_tokens=AccessTokens(
                    key=settings.secret_keys[0],
                    previous_keys=settings.secret_keys[1:],
                    algorithm=settings.ALGORITHM,
                    lifetime=timedelta(minutes=settings.ACCESS_TOKEN_EXPIRE_MINUTES),
                ),
                heartbeat=heartbeat,
                metrics=metrics,
                stopping=stopping,
            )
            state: dict[str, Any] = {
                "resources": resources,
                "health": HealthChecks(resources),
                "rate_limits": RateLimiter(settings, redis, breaker),
                "admission": admission,
            }
            if service_lifespan is not None:
                state |= await stack.enter_async_context(service_lifespan(resources))
            heartbeat.start()
            collector = StateCollector(heartbeat.read_state)
            metrics.registry.register(collector)
            stack.callback(metrics.registry.unregister, collector)
            yield state

    return lifespan
