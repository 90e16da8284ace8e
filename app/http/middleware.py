"""The outermost layer of each service, as pure ASGI: request ids, security headers, one log line a request."""

import asyncio
import logging
import re
import time
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
_QUIET_PATHS = {"/health", "/livez", "/readyz"}


class RequestContextMiddleware:
    """Gives each request its id, turns an unexpected exception into a 500 problem and logs the outcome.

    The gateway makes the id and overwrites what a client sent; a request that came another way gets one here.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap the application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, _one_line_startup_errors(send))
            return
        request_id = request_id_of(Headers(scope=scope))
        token = request_id_var.set(request_id)
        # For responses of many pieces, once their head has gone through all middleware.
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
            # The server's patience with open requests is over. What the request began may go on without it.
            refusal = problem_response(
                503, code="shutting_down", detail="The service is stopping.", headers={"Retry-After": "2"}
            )
            await refusal(scope, receive, send_with_headers)
        except Exception:
            logger.exception("unhandled exception")
            if status is not None:
                # The status line is out: only cutting the connection tells the client that the body is not whole.
                raise
            await internal_error_response()(scope, receive, send_with_headers)
        finally:
            self._log(scope, status, time.perf_counter() - started)
            request_id_var.reset(token)

    @staticmethod
    def _log(scope: Scope, status: int | None, seconds: float) -> None:
        quiet = scope["path"] in _QUIET_PATHS and status == HTTPStatus.OK
        # Not the path: its ids and tokens are nobody's business.
        operation = getattr(scope.get("endpoint"), "__name__", "nothing")
        logger.log(
            logging.DEBUG if quiet else logging.INFO,
            "%s %s: %s",  # all that there is where logs are plain lines
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
    """Refuses bodies over a limit with a 413 problem. The framework's own limit answers in plain text."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Wrap the application."""
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        # Python refuses to convert thousands of digits.
        if announced.isdecimal() and int(announced.lstrip("0")[:19] or "0") > self.max_bytes:
            response = problem_response(413, code="content_too_large", detail="Content Too Large.")
            await response(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise HTTPException(413)
            return message

        await self.app(scope, receive_limited, send)


class ProblemCORSMiddleware(CORSMiddleware):
    """Answers a preflight request that is refused with a problem. The framework's answer is plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Make the response."""
        response = super().preflight_response(request_headers)
        if response.status_code < HTTPStatus.BAD_REQUEST:
            return response
        kept = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        return problem_response(400, code="cors_refused", detail=f"{bytes(response.body).decode()}.", headers=kept)


def request_id_of(headers: Headers) -> str:
    """Return the request id that the gateway made, or a new one."""
    offered = headers.get("x-request-id", "")
    return offered if _REQUEST_ID.fullmatch(offered) else uuid4().hex


def add_common_headers(headers: MutableHeaders, request_id: str) -> None:
    """Add the headers that every response has."""
    headers["X-Request-ID"] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    headers.setdefault("Cache-Control", "no-store")


def _one_line_startup_errors(send: Send) -> Send:
    async def send_shortened(message: Message) -> None:
        if message["type"] == "lifespan.startup.failed":
            # Starlette sends the whole traceback; what the operator needs of an expected refusal is its last line.
            last_line = message["message"].rstrip().rpartition("\n")[2]
            name, _, reason = last_line.partition(": ")
            if name.rpartition(".")[2] == StartupError.__name__:
                message = {**message, "message": reason}
        await send(message)

    return send_shortened
