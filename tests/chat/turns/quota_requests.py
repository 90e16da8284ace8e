"""Questions of a user with a quota, and the quota status."""

from typing import Any

from httpx2 import Response

from app.config import DEFAULT_SYSTEM_PROMPT
from tests.fixtures.database import Sql
from tests.fixtures.services import Chat, User
from tests.support.provider import answers

ALLOWED_QUESTIONS, TOKENS_PER_QUESTION = 10, 100
"""Number of questions within the quota, and tokens that the provider reports for each."""
COUNTED_ANSWER = answers("Yes.", usage=(TOKENS_PER_QUESTION - 10, 10))
SHORT_QUESTION = {"message": "Hi", "max_tokens": 50}
PROMPT_TOKENS = (len(DEFAULT_SYSTEM_PROMPT) + 2) // 2 + 50
"""Prompt tokens that are reserved for `SHORT_QUESTION` and the instructions."""


def set_quota(sql: Sql, user: User, **quota: float | None) -> None:
    """Set the quotas of a user."""
    for name, value in quota.items():
        sql.do(f"UPDATE users SET quota_{name} = %s WHERE uuid = %s", [value, user.id])  # noqa: S608 - a column's name


def quota_status(chat: Chat) -> dict[str, dict[str, Any]]:
    response = chat.request("GET", "/quota")
    assert response.status_code == 200, response.text
    return dict(response.json())


def tokens_today(chat: Chat) -> tuple[int, int]:
    """Return the tokens used today and the tokens reserved."""
    tokens = quota_status(chat)["tokens_per_day"]
    return tokens["used"], tokens["reserved"]


def ask_directly(chat: Chat, **headers: str) -> Response:
    return chat.request("POST", "/direct", json=SHORT_QUESTION, headers=headers)
