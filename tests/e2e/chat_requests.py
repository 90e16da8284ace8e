"""Requests to the chat service through the gateway."""

from typing import Any

import httpx

from tests.e2e.conftest import UserClient


def open_session(user: UserClient, **fields: object) -> str:
    response = user.client.post("/api/v1/chat/sessions", json=fields)
    assert response.status_code == 201, response.text
    return str(response.json()["session_id"])


def ask(user: UserClient, session: str, message: str, **options: object) -> httpx.Response:
    return user.client.post(f"/api/v1/chat/sessions/{session}/messages", json={"message": message, **options})


def answer(user: UserClient, session: str, message: str) -> dict[str, Any]:
    response = ask(user, session, message)
    assert response.status_code == 200, response.text
    return dict(response.json()["ai_response"])


def assert_gateway_problem(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    # Clients of the OpenAI-compatible API read `error`.
    assert problem.keys() - {"error"} == {"type", "title", "status", "detail", "code", "request_id"}
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert "nginx" not in response.text.lower()
