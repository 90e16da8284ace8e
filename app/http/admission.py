"""ASGI middleware that admits a bounded number of requests, fairly among their clients."""

import re
from collections.abc import Hashable
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.client_network import client_network
from app.core.exceptions import AppError
from app.core.security import InvalidTokenError
from app.http.dependencies import Resources
from app.http.errors import app_error_response
from app.services.limits.rate_limiter import RateLimitCheck, RateLimiter

if TYPE_CHECKING:
    from app.services.limits.admission import AdmissionControl

_JWT = re.compile(r"bearer +([a-z0-9_-]+\.[a-z0-9_-]+\.[a-z0-9_-]+)", re.ASCII | re.IGNORECASE)


class AdmissionMiddleware:
    """Lets requests wait for a bounded time, and refuses them with a problem document if they cannot be processed then.

    A request occupies its place until its response begins: event streams and slow readers have limits of their own.
    Health checks are never queued, because they have another prefix.
    """

    def __init__(self, app: ASGIApp, prefixes: tuple[str, ...]) -> None:
        """Wrap the application; requests to paths with one of the prefixes are admitted."""
        self.app = app
        self.prefixes = prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(self.prefixes):
            await self.app(scope, receive, send)
            return
        state = scope["state"]
        check = state["rate_limit_check"] = _start_rate_limit_check(scope, state["rate_limits"])
        control: AdmissionControl = state["admission"]
        try:
            request = await control.admit(_client(scope, check, state["resources"]))
        except AppError as error:
            await app_error_response(error)(scope, receive, send)
            return

        async def release_and_send(message: Message) -> None:
            request.slot.release()
            await send(message)

        try:
            await self.app(scope, receive, release_and_send)
        finally:
            request.slot.release()


def _client(scope: Scope, check: RateLimitCheck, resources: Resources) -> Hashable | None:
    """Return the account of a request if that is known without a query, otherwise its network; None: neither is."""
    match = _JWT.fullmatch(Headers(scope=scope).get("authorization", ""))
    if match is None:
        return check.known_account or check.network
    try:
        return resources.access_tokens.verify(match[1]).sub
    except InvalidTokenError:
        return check.network


def _start_rate_limit_check(scope: Scope, limits: RateLimiter) -> RateLimitCheck:
    # Set by the server from the gateway's headers, not by the client.
    host = scope["client"][0] if scope.get("client") else None
    return limits.start_request(client_network(host), Headers(scope=scope).get("authorization"))
