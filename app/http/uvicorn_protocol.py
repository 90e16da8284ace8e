"""HTTP/1.1 protocol class for Uvicorn that answers malformed requests with problem documents.

Used as `uvicorn --http app.http.uvicorn_protocol:ProblemProtocol`. Malformed requests never reach the application, and
Uvicorn's own class answers them in plain text.
"""

import sys

from httptools import HttpParserInvalidMethodError
from starlette.datastructures import Headers
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.http.errors import problem_response
from app.http.methods import unknown_method_response
from app.http.middleware import add_common_headers, get_or_create_request_id
from app.observability.logging import request_id_var


class ProblemProtocol(HttpToolsProtocol):
    """Answers unknown methods with 501 and other malformed requests with 400."""

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the signature is uvicorn's
        """Send a problem document and close the connection. Uvicorn calls this while handling a parser exception."""
        # From the headers before the error: the gateway sends the request id first.
        request_id = get_or_create_request_id(Headers(raw=self.headers or []))
        token = request_id_var.set(request_id)
        try:
            if isinstance(sys.exception(), HttpParserInvalidMethodError):
                response = unknown_method_response()
            else:
                response = problem_response(400, code="bad_request", detail="The request is not valid HTTP.")
        finally:
            request_id_var.reset(token)
        add_common_headers(response.headers, request_id)
        response.headers["Connection"] = "close"
        head = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
        self.transport.write(STATUS_LINE[response.status_code] + head + b"\r\n" + bytes(response.body))
        self.transport.close()
