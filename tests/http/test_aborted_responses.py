"""Ends of responses that are not complete: what is logged, and what reaches the server."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from app.core.exceptions import UnauthorizedError
from app.http.aborted_responses import allow_abort
from app.http.errors import install_handlers
from app.http.metrics import RequestMetrics
from app.http.middleware import RequestContextMiddleware
from app.observability.metrics import Metrics
from tests.support.waiting import eventually


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    install_handlers(app)
    app.add_middleware(RequestContextMiddleware, metrics=RequestMetrics(Metrics(service="tests", version="1")))

    async def chunks(error: Exception | None = None) -> AsyncIterator[bytes]:
        yield b"first"
        if error is not None:
            raise error
        yield b"last"

    @app.get("/plain")
    async def plain() -> str:
        return "text"

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(chunks())

    @app.get("/refused")
    async def refused() -> StreamingResponse:
        return StreamingResponse(chunks(UnauthorizedError()))

    @app.get("/mistake")
    async def mistake() -> StreamingResponse:
        return StreamingResponse(chunks(ZeroDivisionError()))

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def wait() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.Event().wait()

        return StreamingResponse(wait())

    @app.post("/upload")
    async def upload(request: Request) -> int:
        return sum([len(chunk) async for chunk in request.stream()])

    return app


class Server:
    """A server as ASGI 2.4 defines it: `send` raises an error after the client has disconnected."""

    def __init__(self, *, messages: int = 100, may_abort: bool = True) -> None:
        """The client disconnects after it has received so many messages."""
        self.messages = messages
        self.may_abort = may_abort
        self.sent: list[Any] = []
        self.disconnected = asyncio.Event()

    async def serve(self, app: FastAPI, path: str, method: str = "GET") -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [],
            "state": {},
        }
        if self.may_abort:
            allow_abort(scope["state"], self.disconnected.set)
        await app(scope, self.receive, self.send)

    async def receive(self) -> dict[str, str]:
        if len(self.sent) < self.messages:
            await self.disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: object) -> None:
        if len(self.sent) == self.messages:
            raise BrokenPipeError
        self.sent.append(message)


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    """Return what was logged besides the access log."""
    return [
        (record.getMessage(), getattr(record, "code", None))
        for record in caplog.records
        if record.name == "app.access" and not hasattr(record, "operation")
    ]


@pytest.mark.parametrize("path", ["/plain", "/stream"])
@pytest.mark.parametrize("messages", [0, 1])
async def test_disconnected_client_ends_the_response_without_an_error(
    app: FastAPI, caplog: pytest.LogCaptureFixture, path: str, messages: int
) -> None:
    caplog.set_level(logging.INFO)
    await Server(messages=messages).serve(app, path)
    assert events(caplog) == []


async def test_disconnected_client_ends_the_request_without_an_error(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await Server(messages=0).serve(app, "/upload", "POST")
    assert events(caplog) == []


async def test_expected_error_after_the_headers_aborts_the_connection(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = Server()
    await server.serve(app, "/refused")
    assert events(caplog) == [("response aborted", "unauthorized")]
    assert server.disconnected.is_set()
    assert server.sent[-1].get("more_body")


async def test_server_that_permits_no_abort_gets_the_exception(app: FastAPI) -> None:
    with pytest.raises(RuntimeError) as error:
        await Server(may_abort=False).serve(app, "/refused")
    assert isinstance(error.value.__cause__, UnauthorizedError)


async def test_mistake_after_the_headers_is_logged_and_reaches_the_server(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ZeroDivisionError):
        await Server().serve(app, "/mistake")
    assert events(caplog) == [("unhandled exception", None)]


async def test_shutdown_aborts_the_connection(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = Server()
    request = asyncio.create_task(server.serve(app, "/endless"))
    await eventually(lambda: len(server.sent) == 2)
    request.cancel()
    await request
    assert events(caplog) == [("response aborted", "shutting_down")]
    assert server.disconnected.is_set()
