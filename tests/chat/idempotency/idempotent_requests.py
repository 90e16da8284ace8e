"""Requests with an `Idempotency-Key`."""

from typing import Any

from httpx2 import Response

from tests.fixtures.services import Chat

KEY = "5c3a1c2e-6d0c-4f0e-9b4e-0d9a3c6f7b21"
ROUTES = ["/direct", "/sessions", "/sessions with a question", "/sessions/{id}/messages"]


def post(chat: Chat, path: str, body: dict[str, Any], key: str = KEY) -> Response:
    return chat.request("POST", path, json=body, headers={"Idempotency-Key": key})


def request_for(chat: Chat, route: str) -> tuple[str, dict[str, Any]]:
    """Return path and body of a request that creates something."""
    match route:
        case "/direct":
            return "/direct", {"message": "Hi"}
        case "/sessions":
            return "/sessions", {"title": "Grüße", "context": {"tone": "casual"}}
        case "/sessions with a question":
            return "/sessions", {"title": "Grüße", "initial_message": "Hi", "context": {"number": 0.5}}
        case _:
            return f"/sessions/{chat.open()}/messages", {"message": "Grüße", "context": {"number": 0.5}}


def assert_replayed(again: Response, first: Response) -> None:
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers


def uses_idempotency_keys(statement: str) -> bool:
    return "idempotency_keys" in statement
