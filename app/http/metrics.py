"""Metrics of HTTP requests, and the route that Prometheus reads.

The gateway does not pass the route on: only who reaches the port of a service can read it.
"""

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.routing import iter_route_contexts
from prometheus_client import Counter, Gauge, Histogram
from starlette.types import Scope

from app.http.methods import METHODS
from app.observability.metrics import CONTENT_TYPE, DURATION_BUCKETS, PREFIX, Metrics

UNMATCHED: Final = "unmatched"
"""Route of requests that no route has processed: unknown paths, and requests refused before routing."""
_OTHER_METHOD: Final = "other"


class RequestMetrics:
    """Counts requests and their durations. Labels are templates of routes, methods and status classes only."""

    def __init__(self, metrics: Metrics) -> None:
        labels = ("method", "route", "status")
        self._requests = Counter(
            f"{PREFIX}_http_requests", "Requests by status class.", labels, registry=metrics.registry
        )
        self._durations = Histogram(
            f"{PREFIX}_http_request_duration_seconds",
            "Time from the request to the end of its response; for event streams, to the end of the stream.",
            labels[:2],
            buckets=DURATION_BUCKETS,
            registry=metrics.registry,
        )
        self.in_progress = Gauge(
            f"{PREFIX}_http_requests_in_progress",
            "Requests in progress, open event streams included.",
            registry=metrics.registry,
        )
        self._routes: dict[Any, str] | None = None

    def record(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count a request that has ended. `status` is None if the client disconnected before the response."""
        method = scope["method"] if scope["method"] in METHODS else _OTHER_METHOD
        route = self.route(scope)
        self._requests.labels(method, route, _status_class(status)).inc()
        self._durations.labels(method, route).observe(seconds)

    def route(self, scope: Scope) -> str:
        """Return the template of the route that has processed a request."""
        if self._routes is None:
            # The route in the scope has the path within its router, without the prefixes of the routers around it.
            self._routes = {
                endpoint: context.path
                for context in iter_route_contexts(scope["app"].routes)
                if (endpoint := getattr(context, "endpoint", None)) is not None and context.path is not None
            }
        endpoint = scope.get("endpoint")
        return UNMATCHED if endpoint is None else self._routes.get(endpoint, UNMATCHED)


def _status_class(status: int | None) -> str:
    return "none" if status is None else f"{status // 100}xx"


def metrics_router(metrics: Metrics) -> APIRouter:
    """Return the route of the metrics, which has no API prefix."""
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    async def read_metrics() -> Response:
        """Return the metrics of this process in the text format of Prometheus."""
        return Response(metrics.render(), HTTPStatus.OK, media_type=CONTENT_TYPE)

    return router
