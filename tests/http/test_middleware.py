"""Access log and body limit."""

import asyncio
import logging

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from app.http import request_body
from app.http.metrics import RequestMetrics
from app.http.middleware import BodyLimitMiddleware, RequestContextMiddleware
from app.http.request_body import UploadDrainMiddleware
from app.observability.metrics import Metrics
from tests.support.waiting import LONGEST_WAIT

CHUNKED = [(b"transfer-encoding", b"chunked")]


@pytest.fixture
def client() -> TestClient:
    router = APIRouter(prefix="/items")

    @router.get("/{item_id}", name="an item")
    async def show_item(item_id: int) -> int:
        return item_id

    app = FastAPI()
    app.include_router(router)
    app.add_middleware(BodyLimitMiddleware, max_bytes_by_path={}, max_bytes=100, max_seconds=LONGEST_WAIT)
    metrics = Metrics(service="tests", version="1")
    app.add_middleware(RequestContextMiddleware, metrics=RequestMetrics(metrics))
    return TestClient(app)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/items/7?token=secret", "GET show_item: 200"),
        ("/items/secret", "GET show_item: 422"),
        ("/docs", "GET swagger_ui_html: 200"),
        ("/secret", "GET nothing: 404"),
    ],
)
def test_access_log_contains_operation_instead_of_path(
    client: TestClient, caplog: pytest.LogCaptureFixture, path: str, line: str
) -> None:
    caplog.set_level(logging.INFO, "app.access")
    client.get(path)
    assert [record.message for record in caplog.records if record.name == "app.access"] == [line]


@pytest.mark.parametrize(
    ("length", "status"),
    [("100", 200), ("101", 413), ("9" * 5000, 413), ("0" * 5000 + "5", 200), ("-1", 200), ("x", 200)],
)
def test_body_with_excessive_content_length_is_refused(client: TestClient, length: str, status: int) -> None:
    assert client.get("/items/7", headers={"Content-Length": length}).status_code == status


@pytest.mark.parametrize(
    ("chunks", "status"),
    [([b"x" * 60, b"x" * 40], 200), ([b"x" * 60, b"x" * 41], 413), ([b"x"] * 101, 413), ([b"", b"x" * 100, b""], 200)],
)
async def test_body_limit_is_that_of_all_chunks_together(chunks: list[bytes], status: int) -> None:
    """The test client joins the chunks of a body, so this test sends the messages of the server itself."""

    async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        await PlainTextResponse("received")(scope, receive, send)

    app = FastAPI()
    app.mount("/", read_all)
    app.add_middleware(BodyLimitMiddleware, max_bytes_by_path={}, max_bytes=100, max_seconds=LONGEST_WAIT)
    messages = [
        {"type": "http.request", "body": chunk, "more_body": number < len(chunks)}
        for number, chunk in enumerate(chunks, start=1)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    assert sent[0]["status"] == status


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond without reading the body."""
    await PlainTextResponse("refused", status_code=401)(scope, receive, send)


@pytest.mark.parametrize(("path", "pieces_read"), [("/upload", 4), ("/other", 2)])
async def test_the_body_of_a_refused_upload_is_received_before_the_response(
    monkeypatch: pytest.MonkeyPatch, path: str, pieces_read: int
) -> None:
    monkeypatch.setattr(request_body, "_MAX_DRAINED_BYTES", 150)
    pieces = [{"type": "http.request", "body": b"x" * 100, "more_body": number < 3} for number in range(4)]
    events: list[str] = []

    async def receive() -> Message:
        events.append("piece")
        return pieces[events.count("piece") - 1]

    async def send(message: Message) -> None:
        events.append(message["type"])

    app = UploadDrainMiddleware(refuse, {"/upload": 400})
    await app({"type": "http", "path": path, "headers": CHUNKED, "method": "POST"}, receive, send)
    assert events == ["piece"] * pieces_read + ["http.response.start", "http.response.body"]


async def test_the_rest_of_a_refused_upload_that_stalls_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "_DRAIN_IDLE_TIMEOUT", 0.01)
    sent: list[str] = []

    async def receive() -> Message:
        return await asyncio.Future()

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async with asyncio.timeout(10):
        app = UploadDrainMiddleware(refuse, {"/upload": 400})
        await app({"type": "http", "path": "/upload", "headers": CHUNKED, "method": "POST"}, receive, send)
    assert sent == ["http.response.start", "http.response.body"]


async def test_a_refused_upload_over_the_limit_is_not_received_to_its_end() -> None:
    received = 0

    async def receive() -> Message:
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    async def send(message: Message) -> None:
        pass

    app = UploadDrainMiddleware(refuse, {"/upload": 400})
    await app({"type": "http", "path": "/upload", "headers": CHUNKED, "method": "POST"}, receive, send)
    assert received == 5
