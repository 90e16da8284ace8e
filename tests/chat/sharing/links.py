"""Requests about shared conversations."""

from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response

from tests.fixtures.services import CHAT, Chat


def share(chat: Chat, session: str, **options: object) -> dict[str, Any]:
    response = chat.request("POST", f"/sessions/{session}/share", json=options)
    assert response.status_code == 201, response.text
    return dict(response.json())


def read(client: TestClient, token: str) -> Response:
    return client.get(f"{CHAT}/shared/{token}")


def contents(client: TestClient, token: str) -> list[str]:
    response = read(client, token)
    assert response.status_code == 200, response.text
    return [message["content"] for message in response.json()["messages"]]
