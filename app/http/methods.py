"""ASGI middleware and handlers for request methods: HEAD, OPTIONS, unknown and unsupported methods."""

import re
from collections import defaultdict

from fastapi import FastAPI, Request, Response
from fastapi.routing import iter_route_contexts
from starlette.routing import Match, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.errors import problem_response

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Methods that the services support, in the order of the `Allow` header."""
_REFUSED_METHODS = ("TRACE", "CONNECT", "QUERY")
"""Standard methods that no resource supports: 405. Unknown methods get 501, and at the gateway these, too."""

_PARAMETER = re.compile(r"\{[^}]+\}")
_Paths = list[tuple[re.Pattern[str], set[str]]]


class MethodMiddleware:
    """Answers HEAD like GET without the content, and unknown methods with 501 (RFC 9110, section 9).

    FastAPI's GET routes do not answer HEAD.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self.app = app
        self._overlapping: _Paths | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["method"] not in METHODS + _REFUSED_METHODS:
            await unknown_method_response()(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._serve_head(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._overlapping is None:
            self._overlapping = _overlapping_paths(scope["app"])
        methods = _methods_of_overlapping(self._overlapping, scope["path"])
        if methods is None or scope["method"] in methods:
            await self.app(scope, receive, send)
        else:
            await _refusal(scope["app"], scope["path"], scope["method"])(scope, receive, send)

    async def _serve_head(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                # After this the server reports a disconnect to the application, so that event streams end.
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        get = {**scope, "method": "GET", "state": {**scope["state"], "send_past_middleware": send_head}}
        try:
            await self._serve(get, receive, send_head)
        finally:
            if "endpoint" in get:
                scope["endpoint"] = get["endpoint"]  # for the access log


def unknown_method_response() -> Response:
    """Return the response for a method that no resource supports."""
    return problem_response(501, code="not_implemented", detail=f"The methods of this API are {', '.join(METHODS)}.")


async def handle_method_not_allowed(request: Request, _error: Exception) -> Response:
    """Return the response for a method that the resource does not support, or, for OPTIONS, the supported methods."""
    return _refusal(request.app, request.url.path, request.method)


def _refusal(app: FastAPI, path: str, method: str) -> Response:
    headers = {"Allow": ", ".join(_allowed_methods(app, path))}
    if method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    return problem_response(405, code="method_not_allowed", detail="Method Not Allowed.", headers=headers)


def _overlapping_paths(app: FastAPI) -> _Paths:
    """Return the paths that a template with more parameters also matches, with their methods.

    Such a path is no value of the template, as OpenAPI says: `PATCH /sessions/delete` changes no session `delete`.
    """
    methods: dict[str, set[str]] = defaultdict(set)
    for context in iter_route_contexts(app.routes):
        if context.path is not None:
            methods[context.path] |= set(getattr(context, "methods", None) or METHODS)
    patterns = {path: compile_path(path)[0] for path in methods}
    return [
        (patterns[path], methods[path])
        for path in sorted(methods, key=_parameter_count)
        if any(
            _parameter_count(other) > _parameter_count(path) and pattern.match(_PARAMETER.sub("x", path))
            for other, pattern in patterns.items()
        )
    ]


def _parameter_count(path: str) -> int:
    return path.count("{")


def _methods_of_overlapping(paths: _Paths, path: str) -> set[str] | None:
    return next((methods for pattern, methods in paths if pattern.match(path)), None)


def _allowed_methods(app: FastAPI, path: str) -> list[str]:
    # FastAPI itself lists the methods of the first route of the path only.
    def is_routed(method: str) -> bool:
        scope = {"type": "http", "method": method, "path": path, "root_path": ""}
        return any(route.matches(scope)[0] is Match.FULL for route in app.routes)

    methods = _methods_of_overlapping(_overlapping_paths(app), path)
    routed = (methods or {method for method in METHODS if is_routed(method)}) | {"OPTIONS"}
    if "GET" in routed:
        routed.add("HEAD")
    return [method for method in METHODS if method in routed]
