"""ASGI middleware that enforces the rate limits and adds the `RateLimit` headers."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.client_network import client_network
from app.core.exceptions import TooManyRequestsError
from app.http.errors import app_error_response
from app.services.limits.moving_window import LimitStatus
from app.services.limits.rate_limiter import RateLimitCheck, RateLimiter


class RateLimitMiddleware:
    """Counts requests and refuses those over the limit with a 429 problem document before they are processed.

    Health checks are not counted, because they have another prefix. An event stream counts as one request.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """Wrap the application; requests to paths with `prefix` are counted."""
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(self.prefix):
            await self.app(scope, receive, send)
            return
        rate_limit_check = scope["state"]["rate_limit_check"] = _start_rate_limit_check(
            scope, scope["state"]["rate_limits"]
        )

        async def send_with_limit_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                if message["status"] == HTTPStatus.UNAUTHORIZED:
                    rate_limit_check.reject_credential()
                if rate_limit_check.status is not None:
                    MutableHeaders(scope=message).update(_headers(rate_limit_check.status))
            await send(message)

        try:
            await rate_limit_check.count_request()
        except TooManyRequestsError as error:
            await app_error_response(error)(scope, receive, send_with_limit_headers)
        else:
            await self.app(scope, receive, send_with_limit_headers)


def _start_rate_limit_check(scope: Scope, limits: RateLimiter) -> RateLimitCheck:
    # Set by the server from the gateway's headers, not by the client.
    host = scope["client"][0] if scope.get("client") else None
    return limits.start_request(client_network(host), Headers(scope=scope).get("authorization"))


def _headers(status: LimitStatus) -> Mapping[str, str]:
    # draft-ietf-httpapi-ratelimit-headers-10
    policy = status.window.policy
    return {
        "RateLimit-Policy": f'"{policy.namespace}";q={policy.amount};w={policy.get_expiry()}',
        "RateLimit": f'"{policy.namespace}";r={status.remaining};t={status.reset_after}',
    }
