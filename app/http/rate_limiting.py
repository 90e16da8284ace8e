"""ASGI middleware that enforces the rate limits and adds the `RateLimit` headers."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.exceptions import TooManyRequestsError
from app.http.errors import app_error_response
from app.services.limits.moving_window import LimitStatus

if TYPE_CHECKING:
    from app.services.limits.rate_limiter import RateLimitCheck


class RateLimitMiddleware:
    """Counts requests and refuses those over the limit with a 429 problem document before they are processed.

    Health checks are not counted, because they have another prefix. An event stream counts as one request.
    """

    def __init__(self, app: ASGIApp, prefixes: tuple[str, ...]) -> None:
        """Wrap the application; requests to paths with one of the prefixes are counted.

        `AdmissionMiddleware` is outside.
        """
        self.app = app
        self.prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(self.prefixes):
            await self.app(scope, receive, send)
            return
        rate_limit_check: RateLimitCheck = scope["state"]["rate_limit_check"]

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


def _headers(status: LimitStatus) -> Mapping[str, str]:
    # draft-ietf-httpapi-ratelimit-headers-10
    policy = status.window.policy
    return {
        "RateLimit-Policy": f'"{policy.namespace}";q={policy.amount};w={policy.get_expiry()}',
        "RateLimit": f'"{policy.namespace}";r={status.remaining};t={status.reset_after}',
    }
