"""ASGI middleware: request ids, security headers, access log, body size limit, CORS."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.exceptions import StartupError
from app.http.aborted_responses import end_response
from app.http.errors import problem_response
from app.http.metrics import RequestMetrics
from app.observability.logging import request_id_var
from app.observability.tracing import span

if TYPE_CHECKING:
    from opentelemetry.trace import Span

logger = logging.getLogger("app.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
_STAINLESS = re.compile(r"x-stainless-[a-z0-9-]{1,50}", re.IGNORECASE)
"""Headers that OpenAI's clients add; newer versions add more of them."""
_MONITORING_PATHS = {"/health", "/livez", "/readyz", "/metrics"}


class RequestContextMiddleware:
    """Assigns the request id, sets security headers, answers unexpected exceptions with 500, logs and counts requests.

    The gateway generates request ids and overwrites those of clients; a request without a valid id gets one here.
    """

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        """Wrap the application. Requests are counted in `metrics`."""
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, _shorten_startup_errors(send))
            return
        headers = Headers(scope=scope)
        request_id = get_or_create_request_id(headers)
        token = request_id_var.set(request_id)
        # Event streams send their chunks with it, past all middleware, once their headers are out.
        scope["state"]["send_past_middleware"] = send
        started = time.perf_counter()
        status: int | None = None
        self.metrics.in_progress.inc()

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                add_common_headers(MutableHeaders(scope=message), request_id)
            try:
                await send(message)
            except OSError:
                raise ClientDisconnect from None  # ASGI 2.4, section "Disconnect Receive Event - send"

        try:
            with span(scope["method"], kind="server", carrier=headers) as request_span:
                try:
                    await self.app(scope, receive, send_with_headers)
                finally:
                    if request_span is not None:
                        self._describe(request_span, scope, status, request_id)
        except ClientDisconnect:
            pass  # nobody waits for the rest
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - logged and raised there
            await end_response(error, scope, receive, send_with_headers, has_begun=status is not None)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.in_progress.dec()
            self.metrics.record(scope, status, seconds)
            self._log(scope, status, seconds)
            request_id_var.reset(token)

    def _describe(self, request_span: "Span", scope: Scope, status: int | None, request_id: str) -> None:
        route = self.metrics.route(scope)
        request_span.update_name(f"{scope['method']} {route}")
        request_span.set_attributes(
            {"http.request.method": scope["method"], "http.route": route, "chatbot.request_id": request_id}
        )
        if status is not None:  # none has been sent if an exception ends the request
            request_span.set_attribute("http.response.status_code", status)

    @staticmethod
    def _log(scope: Scope, status: int | None, seconds: float) -> None:
        is_monitoring = scope["path"] in _MONITORING_PATHS and status == HTTPStatus.OK
        # Not the path, which may contain ids and secrets.
        operation = getattr(scope.get("endpoint"), "__name__", "nothing")
        logger.log(
            logging.DEBUG if is_monitoring else logging.INFO,
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
    """Refuses bodies over a limit with a 413 problem document, and the rest of a large one that is slow with 408."""

    def __init__(self, app: ASGIApp, max_bytes: int, max_bytes_by_path: Mapping[str, int], max_seconds: float) -> None:
        """Wrap the application. `max_bytes_by_path` has other limits for some paths.

        `max_seconds`: timeout of what `RequestBodyMiddleware` has not received of a body, except of files.
        """
        self.app = app
        self.max_bytes = max_bytes
        self.max_bytes_by_path = max_bytes_by_path
        self.max_seconds = max_seconds

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
        # Files, and requests without a body, have no entry.
        is_timed = not scope.get("state", {}).get("body_is_received", True)
        deadline = asyncio.get_running_loop().time() + self.max_seconds

        async def receive_limited() -> Message:
            nonlocal received, is_timed
            try:
                async with asyncio.timeout_at(deadline if is_timed else None):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            is_timed = is_timed and message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > max_bytes:
                raise HTTPException(413)
            return message

        await self.app(scope, receive_limited, send)


CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
"""Methods that pages of other origins may use. These lists are also in `nginx.conf`, for responses of the gateway."""
CORS_HEADERS = (
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "HTTP-Referer",
    "Idempotency-Key",
    "Last-Event-ID",
    "OpenAI-Beta",
    "OpenAI-Organization",
    "OpenAI-Project",
    "User-Agent",
    "X-Requested-With",
    "X-Session-ID",
    "X-Title",
    # Trace context of the W3C, which instrumented pages send.
    "baggage",
    "traceparent",
    "tracestate",
)
"""Headers that pages of other origins may send, besides those that need no permission and those with `_STAINLESS`."""
EXPOSED_HEADERS = (
    "X-Request-ID",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Idempotent-Replayed",
    "Content-Disposition",
    "X-Should-Retry",
)
"""Headers of responses that pages of other origins may read."""


class ProblemCORSMiddleware(CORSMiddleware):
    """CORS middleware that answers refused preflight requests with problem documents instead of plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the response to a preflight request."""
        names = [name.strip() for name in request_headers.get("access-control-request-headers", "").split(",")]
        stainless = dict.fromkeys(name for name in names if _STAINLESS.fullmatch(name))
        if stainless:
            others = ",".join(name for name in names if name not in stainless) or "content-type"
            request_headers = Headers(dict(request_headers) | {"access-control-request-headers": others})
        response = super().preflight_response(request_headers)
        if stainless and response.status_code < HTTPStatus.BAD_REQUEST:
            response.headers["Access-Control-Allow-Headers"] += f", {', '.join(stainless)}"
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
