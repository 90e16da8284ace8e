"""Erasure of accounts, and the receipt."""

from typing import Any

from fastapi.testclient import TestClient
from httpx2 import Response

from tests.fixtures.services import AUTH, PASSWORD, User


def erase(client: TestClient, user: User, password: str = PASSWORD) -> Response:
    return client.request("DELETE", f"{AUTH}/me", json={"password": password}, headers=user.headers)


def counts(receipt: dict[str, Any], part: str = "removed") -> dict[str, int]:
    return {item["what"]: item["count"] for item in receipt[part]}
