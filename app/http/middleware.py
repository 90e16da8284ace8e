"""ASGI middleware: request ids, security headers, access log, body size limit, CORS."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.exceptions import StartupError
from app.http.errors import internal_error_response, problem_response
from app.observability.logging import request_id_var

logger = logging.getLogger("app.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_DRAIN_TIMEOUT = 15.0
"""Maximum time to receive and discard the body of a refused upload, in seconds."""
_DRAIN_IDLE_TIMEOUT = 2.0
"""Time without data after which the rest of such a body is not waited for, in seconds."""
_HEALTH_PATHS = {"/health", "/livez", "/readyz"}


class RequestContextMiddleware:
    """Assigns the request id, sets security headers, answers unexpected exceptions with 500 and writes the access log.

    The gateway generates request ids and overwrites those of clients; a request without a valid id gets one here.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, _shorten_startup_errors(send))
            return
        request_id = get_or_create_request_id(Headers(scope=scope))
        token = request_id_var.set(request_id)
        # Event streams send their chunks with it, past all middleware, once their headers are out.
        scope["state"]["send_past_middleware"] = send
        started = time.perf_counter()
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                add_common_headers(headers, request_id)
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            if status is not None:
                raise
            # The server cancels requests that are open after its shutdown timeout. Tasks that they started continue.
            response = problem_response(
                503, code="shutting_down", detail="The service is shutting down.", headers={"Retry-After": "2"}
            )
            await response(scope, receive, send_with_headers)
        except Exception:
            logger.exception("unhandled exception")
            if status is not None:
                # The status line has been sent: only an aborted connection shows that the body is incomplete.
                raise
            await internal_error_response()(scope, receive, send_with_headers)
        finally:
            self._log(scope, status, time.perf_counter() - started)
            request_id_var.reset(token)

    @staticmethod
    def _log(scope: Scope, status: int | None, seconds: float) -> None:
        is_health_check = scope["path"] in _HEALTH_PATHS and status == HTTPStatus.OK
        # Not the path, which may contain ids and secrets.
        operation = getattr(scope.get("endpoint"), "__name__", "nothing")
        logger.log(
            logging.DEBUG if is_health_check else logging.INFO,
            "%s %s: %s",  # the only content of plain-text logs
            scope["method"],
            operation,
            status,
            extra={
                "method": scope["method"],
                "operation": operation,
                "status": status,
                "duration_ms": round(seconds * 1000, 1),
            },
        )


class BodyLimitMiddleware:
    """Refuses bodies over a limit with a 413 problem document."""

    def __init__(self, app: ASGIApp, max_bytes: int, max_bytes_by_path: Mapping[str, int]) -> None:
        """Wrap the application. `max_bytes_by_path` has other limits for some paths."""
        self.app = app
        self.max_bytes = max_bytes
        self.max_bytes_by_path = max_bytes_by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        max_bytes = self.max_bytes_by_path.get(scope["path"], self.max_bytes)
        content_length = Headers(scope=scope).get("content-length", "")
        # At most 19 digits, because `int` raises an error for thousands of them.
        if content_length.isdecimal() and int(content_length.lstrip("0")[:19] or "0") > max_bytes:
            response = problem_response(413, code="content_too_large", detail="Content Too Large.")
            await response(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise HTTPException(413)
            return message

        await self.app(scope, receive_limited, send)


class UploadDrainMiddleware:
    """Receives and discards the body of an upload that is refused before it sends the response.

    A server that responds before it has received a large body closes the connection, and the gateway may then report a
    failure instead of the response. It is outside of all middleware that refuses requests.
    """

    def __init__(self, app: ASGIApp, max_bytes_by_path: Mapping[str, int]) -> None:
        """Wrap the application. `max_bytes_by_path` has the paths of uploads, and the maximum size that is received."""
        self.app = app
        self.max_bytes_by_path = max_bytes_by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        max_bytes = self.max_bytes_by_path.get(scope["path"]) if scope["type"] == "http" else None
        if max_bytes is None:
            await self.app(scope, receive, send)
            return
        received = 0
        is_received = False

        async def receive_counted() -> Message:
            nonlocal received, is_received
            message = await receive()
            received += len(message.get("body", b""))
            is_received = not message.get("more_body", False)
            return message

        async def drain() -> None:
            while not is_received and received <= max_bytes:
                async with asyncio.timeout(_DRAIN_IDLE_TIMEOUT):
                    await receive_counted()

        async def send_after_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                with suppress(TimeoutError):
                    async with asyncio.timeout(_DRAIN_TIMEOUT):
                        await drain()
            await send(message)

        await self.app(scope, receive_counted, send_after_body)


class ProblemCORSMiddleware(CORSMiddleware):
    """CORS middleware that answers refused preflight requests with problem documents instead of plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the response to a preflight request."""
        response = super().preflight_response(request_headers)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            return response
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return problem_response(400, code="cors_refused", detail=f"{bytes(response.body).decode()}.", headers=headers)


def get_or_create_request_id(headers: Headers) -> str:
    """Return the request id that the gateway sent, or a new one."""
    received_id = headers.get("x-request-id", "")
    return received_id if _REQUEST_ID.fullmatch(received_id) else uuid4().hex


def add_common_headers(headers: MutableHeaders, request_id: str) -> None:
    """Add the headers that every response has."""
    headers["X-Request-ID"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Cache-Control", "no-store")


def _shorten_startup_errors(send: Send) -> Send:
    async def send_shortened(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            # Starlette sends the traceback. For a `StartupError` the operator needs its message only.
            last_line = message["message"].rstrip().rpartition("\n")[2]
            name, _, reason = last_line.partition(": ")
            if name.rpartition(".")[2] == StartupError.__name__:
                message = {**message, "message": reason}
        await send(message)

    return send_shortened
