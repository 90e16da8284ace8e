"""HTTP/1.1 protocol class for Uvicorn that answers malformed requests with problem documents, and bounds their heads.

Used as `uvicorn --http app.http.uvicorn_protocol:ProblemProtocol`. Malformed requests never reach the application, and
Uvicorn's own class answers them in plain text. During a shutdown, it also answers requests that are on their way.
"""

import asyncio
import sys
from collections.abc import Callable

from httptools import HttpParserInvalidMethodError
from starlette.datastructures import Headers
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core.exceptions import RequestTimeoutError
from app.http.aborted_responses import allow_abort
from app.http.errors import app_error_response, problem_response
from app.http.methods import unknown_method_response
from app.http.middleware import add_common_headers, get_or_create_request_id
from app.observability.logging import request_id_var

FIRST_REQUEST_TIMEOUT = 1.0
"""Seconds that a connection without a request stays open after the port has been closed."""
HEAD_TIMEOUT = 15.0
"""Seconds in which the request line and the headers must arrive. The gateway sends them at once."""
MAX_HEAD_BYTES = 65_536
"""Size above which a request line with headers is refused as soon as it has arrived without its end."""

_TOO_LARGE = "The headers of the request are too long."
_UPGRADE_WITH_BODY = "A request with a body cannot have an Upgrade header."


class ProblemProtocol(HttpToolsProtocol):
    """Answers unknown methods with 501 and other malformed requests with 400.

    A client that reaches the service without the gateway can hold a connection with an incomplete head for a bounded
    time only, and with a bounded amount of memory. Uvicorn itself has neither limit.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _has_head_begun = False
    _is_body_expected = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in Uvicorn
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._time_out)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data, and limit what may follow if the head of a request is incomplete."""
        super().data_received(data)
        if self.transport.is_closing():
            return
        if not self._has_head_begun and (self._is_body_expected or self._is_answering):
            return
        # Data that belong to no request, such as empty lines, count, too.
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(lambda: problem_response(431, code="request_header_fields_too_large", detail=_TOO_LARGE))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._time_out)

    def on_message_begin(self) -> None:
        """Note that a request has begun, whose connection the application may abort."""
        self._has_head_begun = True
        super().on_message_begin()
        allow_abort(self.scope["state"], self.transport.abort)

    def on_headers_complete(self) -> None:
        """Note that the head is complete."""
        self._has_head_begun, self._is_body_expected, self._head_bytes = False, True, 0
        self._stop_timer()
        if self.parser.should_upgrade() and _has_body(Headers(raw=self.headers)):
            # The parser takes what follows for another protocol, so the application would get an empty body.
            self._refuse(lambda: problem_response(400, code="bad_request", detail=_UPGRADE_WITH_BODY))
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body is complete."""
        self._is_body_expected = False
        if self.transport.is_closing():
            return
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        # No service has WebSockets: the request is answered like any other. Uvicorn itself answers 403 in plain text.
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: the client chose the header."""

    @property
    def _is_answering(self) -> bool:
        # Uvicorn declares the attribute without None.
        return bool(self.cycle) and not self.cycle.response_complete

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _time_out(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self._is_answering:
            # A further request has begun before the response to an earlier one.
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self._time_out)
        elif self._has_head_begun:
            self._refuse(lambda: app_error_response(RequestTimeoutError()))
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Close the connection if it is idle. Uvicorn calls this after it has closed the port.

        The gateway opens a connection for each request. If one were closed before its request was read, the gateway
        would respond with 502, because it must not repeat a POST or PATCH that it has sent.
        """
        if self.cycle is None:
            # Uvicorn declares the attribute without None.
            self.loop.call_later(FIRST_REQUEST_TIMEOUT, super().shutdown)  # type: ignore[unreachable]
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the signature is uvicorn's
        """Send a problem document and close the connection. Uvicorn calls this while handling a parser exception."""
        if isinstance(sys.exception(), HttpParserInvalidMethodError):
            self._refuse(unknown_method_response)
        else:
            self._refuse(lambda: problem_response(400, code="bad_request", detail="The request is not valid HTTP."))

    def _refuse(self, build_response: Callable[[], Response]) -> None:
        # From the headers so far: the gateway sends the request id first.
        request_id = get_or_create_request_id(Headers(raw=self.headers or []))
        token = request_id_var.set(request_id)
        try:
            response = build_response()
        finally:
            request_id_var.reset(token)
        add_common_headers(response.headers, request_id)
        response.headers["Connection"] = "close"
        head = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
        self.transport.write(STATUS_LINE[response.status_code] + head + b"\r\n" + bytes(response.body))
        self.transport.close()


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
