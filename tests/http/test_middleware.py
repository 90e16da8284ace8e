"""Access log and body limit."""

import asyncio
import logging

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from app.http import middleware
from app.http.middleware import BodyLimitMiddleware, RequestContextMiddleware, UploadDrainMiddleware


@pytest.fixture
def client() -> TestClient:
    router = APIRouter(prefix="/items")

    @router.get("/{item_id}", name="an item")
    async def show_item(item_id: int) -> int:
        return item_id

    app = FastAPI()
    app.include_router(router)
    app.add_middleware(BodyLimitMiddleware, max_bytes_by_path={}, max_bytes=100)
    app.add_middleware(RequestContextMiddleware)
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


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond without reading the body."""
    await PlainTextResponse("refused", status_code=401)(scope, receive, send)


@pytest.mark.parametrize(("path", "pieces_read"), [("/upload", 4), ("/other", 0)])
async def test_the_body_of_a_refused_upload_is_received_before_the_response(path: str, pieces_read: int) -> None:
    pieces = [{"type": "http.request", "body": b"x" * 100, "more_body": number < 3} for number in range(4)]
    events: list[str] = []

    async def receive() -> Message:
        events.append("piece")
        return pieces[events.count("piece") - 1]

    async def send(message: Message) -> None:
        events.append(message["type"])

    app = UploadDrainMiddleware(refuse, {"/upload": 400})
    await app({"type": "http", "path": path, "headers": [], "method": "POST"}, receive, send)
    assert events == ["piece"] * pieces_read + ["http.response.start", "http.response.body"]


async def test_the_rest_of_a_refused_upload_that_stalls_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_DRAIN_IDLE_TIMEOUT", 0.01)
    sent: list[str] = []

    async def receive() -> Message:
        return await asyncio.Future()

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async with asyncio.timeout(10):
        app = UploadDrainMiddleware(refuse, {"/upload": 400})
        await app({"type": "http", "path": "/upload", "headers": [], "method": "POST"}, receive, send)
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
    await app({"type": "http", "path": "/upload", "headers": [], "method": "POST"}, receive, send)
    assert received == 5
