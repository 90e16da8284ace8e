"""ASGI middleware and handlers for request methods: HEAD, OPTIONS, unknown and unsupported methods."""

from fastapi import Request, Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.errors import problem_response

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Methods that the services support, in the order of the `Allow` header."""


class MethodMiddleware:
    """Answers HEAD like GET without the content, and unknown methods with 501 (RFC 9110, section 9).

    FastAPI's GET routes do not answer HEAD.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] not in METHODS:
            await unknown_method_response()(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._serve_head(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _serve_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                # After this the server reports a disconnect to the application, so that event streams end.
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        get = {**scope, "method": "GET", "state": {**scope["state"], "send_past_middleware": send_head}}
        try:
            await self.app(get, receive, send_head)
        finally:
            if "endpoint" in get:
                scope["endpoint"] = get["endpoint"]  # for the access log


def unknown_method_response() -> Response:
    """Return the response for a method that no resource supports."""
    return problem_response(501, code="not_implemented", detail=f"The methods of this API are {', '.join(METHODS)}.")


async def handle_method_not_allowed(request: Request, _error: Exception) -> Response:
    """Return the response for a method that the resource does not support, or, for OPTIONS, the supported methods."""
    headers = {"Allow": ", ".join(_allowed_methods(request))}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    return problem_response(405, code="method_not_allowed", detail="Method Not Allowed.", headers=headers)


def _allowed_methods(request: Request) -> list[str]:
    # FastAPI itself lists the methods of the first route of the path only.
    def is_routed(method: str) -> bool:
        scope = {"type": "http", "method": method, **{key: request.scope.get(key, "") for key in ("path", "root_path")}}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    routed = {method for method in METHODS if is_routed(method)} | {"OPTIONS"}
    if "GET" in routed:
        routed.add("HEAD")
    return [method for method in METHODS if method in routed]
