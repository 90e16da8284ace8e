"""Access log and body limit."""

import logging

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from app.http.middleware import BodyLimitMiddleware, RequestContextMiddleware


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
