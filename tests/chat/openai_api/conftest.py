from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from openai import OpenAI

from tests.fixtures.services import AUTH, Chat, User
from tests.fixtures.streaming import ChatServer

COMPLETIONS = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hi"}]


def openai_error(response: Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """Check an error as clients of OpenAI read it, and return it."""
    assert response.status_code == status, response.text
    problem = response.json()
    error: dict[str, Any] = problem["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param)
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["X-Request-ID"]
    return error


@pytest.fixture
def complete(chat: Chat) -> Callable[..., Response]:
    """Function that sends a request for a chat completion as the user `ada`."""

    def send(messages: object = HELLO, **fields: Any) -> Response:  # noqa: ANN401 - any JSON value
        body = {"model": "gpt-primary", "messages": messages, **fields}
        return chat.client.post(COMPLETIONS, json=body, headers=chat.user.headers)

    return send


@pytest.fixture
def api_key(auth_client: TestClient, ada: User) -> str:
    """API key of `ada` for this API only."""
    new = {"name": "editor", "scopes": ["chat:completions"]}
    return str(auth_client.post(f"{AUTH}/api-keys", json=new, headers=ada.headers).json()["key"])


@pytest.fixture
def openai_client(server: ChatServer, api_key: str) -> Iterator[OpenAI]:
    """OpenAI's client for Python, with its defaults."""
    with OpenAI(base_url=str(server.http.base_url.join("/v1")), api_key=api_key) as client:
        yield client
