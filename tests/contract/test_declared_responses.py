"""The comparison of responses with the OpenAPI documents, which runs in all tests."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.http.errors import PROBLEM_JSON
from tests.fixtures import declared_responses
from tests.fixtures.declared_responses import difference, find_operation, paths_with_operations
from tests.fixtures.services import Chat

OPERATION: dict[str, Any] = {
    "responses": {
        "200": {"content": {"application/json": {}}},
        "204": {},
        "404": {
            "content": {
                PROBLEM_JSON: {"schema": {"allOf": [{}, {"properties": {"code": {"enum": ["not_found"]}}}]}},
            }
        },
    }
}


@pytest.mark.parametrize(
    ("status", "content_type", "body", "found"),
    [
        (200, "application/json", b"{}", None),
        (200, "text/plain; charset=utf-8", b"", "content type text/plain of status 200"),
        (204, "", b"", None),
        (204, "application/json", b"", "content type application/json of status 204"),
        (404, PROBLEM_JSON, b'{"code": "not_found"}', None),
        (404, PROBLEM_JSON, b"", None),  # of HEAD
        (404, PROBLEM_JSON, b'{"code": "gone"}', "code gone of status 404"),
        (409, PROBLEM_JSON, b'{"code": "conflict"}', "status 409 (conflict)"),
    ],
)
def test_difference(status: int, content_type: str, body: bytes, found: str | None) -> None:
    assert difference(OPERATION, status, content_type, body) == found


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("HEAD", "/api/v1/chat/sessions", "list_sessions"),
        ("PATCH", "/api/v1/chat/sessions/1", "update_session"),
        ("POST", "/api/v1/chat/sessions/delete", "delete_sessions"),
        ("PATCH", "/api/v1/chat/sessions/delete", None),
        ("POST", "/api/v1/chat/sessions/1/messages/stream", "stream_message"),
        ("DELETE", "/api/v1/chat/sessions/1/messages/stream", None),
        ("GET", "/nowhere", None),
    ],
)
def test_operation_of_a_request(method: str, path: str, name: str | None) -> None:
    operation = find_operation(paths_with_operations(), method, path)
    assert (operation and operation["operationId"]) == name


def test_undeclared_response_is_recorded(chat: Chat, chat_service: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[str] = []
    monkeypatch.setattr(declared_responses, "difference", lambda *_: "status 200")
    monkeypatch.setattr(declared_responses, "UNDECLARED", recorded)
    assert chat.request("GET", "/sessions").status_code == 200
    assert recorded == ["list_sessions: status 200"]
