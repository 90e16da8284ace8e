"""The line that each request leaves in the log."""

import logging

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from app.http.middleware import RequestContextMiddleware


@pytest.fixture
def client() -> TestClient:
    router = APIRouter(prefix="/items")

    @router.get("/{item_id}", name="an item")
    async def show_item(item_id: int) -> int:
        return item_id

    app = FastAPI()
    app.include_router(router)
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
def test_a_request_is_logged_with_what_served_it_and_not_with_its_path(
    client: TestClient, caplog: pytest.LogCaptureFixture, path: str, line: str
) -> None:
    caplog.set_level(logging.INFO, "app.access")
    client.get(path)
    assert [record.message for record in caplog.records if record.name == "app.access"] == [line]
