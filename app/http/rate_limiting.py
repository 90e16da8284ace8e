"""Counts every request to the API against the limits, and tells clients where they stand."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.client_network import network_of
from app.core.exceptions import TooManyRequestsError
from app.http.errors import app_error_response
from app.services.limits.moving_window import Standing
from app.services.limits.rate_limiter import RateLimits, Visit


class RateLimitMiddleware:
    """Refuses a request that is one too many with a 429 problem, before anything else is done for it.

    Health checks are not counted: they lie outside the API. An event stream counts once, however long it is.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """Wrap the application. `prefix`: of the paths that are counted."""
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(self.prefix):
            await self.app(scope, receive, send)
            return
        visit = scope["state"]["visit"] = _visit(scope, scope["state"]["rate_limits"])

        async def send_with_standing(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == HTTPStatus.UNAUTHORIZED:
                    visit.is_refused()
                if visit.standing is not None:
                    MutableHeaders(scope=message).update(_headers(visit.standing))
            await send(message)

        try:
            await visit.arrive()
        except TooManyRequestsError as error:
            await app_error_response(error)(scope, receive, send_with_standing)
        else:
            await self.app(scope, receive, send_with_standing)


def _visit(scope: Scope, limits: RateLimits) -> Visit:
    # The gateway's word, not the client's.
    host = scope["client"][0] if scope.get("client") else None
    return limits.visit(network_of(host), Headers(scope=scope).get("authorization"))


def _headers(standing: Standing) -> Mapping[str, str]:
    # draft-ietf-httpapi-ratelimit-headers-10
    policy = standing.window.policy
    return {
        "RateLimit-Policy": f'"{policy.namespace}";q={policy.amount};w={policy.get_expiry()}',
        "RateLimit": f'"{policy.namespace}";r={standing.remaining};t={standing.reset_after}',
    }
