"""Requests about branches, used by several test modules."""

from typing import Any

from tests.fixtures.services import Chat
from tests.support.provider import Provider


def messages_of(chat: Chat, session: str, **query: object) -> dict[str, Any]:
    response = chat.request("GET", f"/sessions/{session}/messages", params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


def texts(page: dict[str, Any]) -> list[str]:
    return [message["content"] for message in page["messages"]]


def send(chat: Chat, session: str, message: str, **more: object) -> dict[str, Any]:
    response = chat.request("POST", f"/sessions/{session}/messages", json={"message": message, **more})
    assert response.status_code == 200, response.text
    turn: dict[str, Any] = response.json()
    return turn


def regenerate(chat: Chat, session: str, message: str, **options: object) -> dict[str, Any]:
    response = chat.request("POST", f"/sessions/{session}/messages/{message}/regenerate", json=options)
    assert response.status_code == 200, response.text
    turn: dict[str, Any] = response.json()
    return turn


def sent_texts(provider: Provider) -> list[str]:
    """Return what the last call sent, without the instructions."""
    return [message["content"] for message in provider.calls[-1].body["messages"] if message["role"] != "system"]
