"""Names, titles and labels that users set cannot reorder, break or hide other text, wherever they are taken."""

from typing import Any

import pytest

from tests.fixtures.services import ADMIN, AUTH, CHAT, assert_problem
from tests.fixtures.world import World

UNSAFE = ["exe.\u202etxt", "a\nb", "\u2066a", "a\x1b[31m"]
OPERATIONS = [
    pytest.param("chat", "POST", f"{CHAT}/sessions", {"title": ...}, id="title"),
    pytest.param("chat", "PATCH", f"{CHAT}/sessions/{{session}}", {"title": ...}, id="new title"),
    pytest.param("chat", "PATCH", f"{CHAT}/sessions/{{session}}", {"tags": [...]}, id="tag"),
    pytest.param("auth", "PUT", f"{AUTH}/profile", {"full_name": ...}, id="full name"),
    pytest.param("auth", "POST", f"{AUTH}/api-keys", {"name": ..., "scopes": ["chat:read"]}, id="key"),
    pytest.param("auth", "PUT", f"{AUTH}/admin/users/{{user}}", {"full_name": ...}, id="full name by an admin"),
    pytest.param("auth", "POST", f"{AUTH}/admin/users", {"email": "a@b.example", "full_name": ...}, id="invitation"),
    pytest.param(
        "admin",
        "POST",
        f"{ADMIN}/webhooks",
        {"url": "https://example.com/", "events": ["*"], "description": ...},
        id="webhook",
    ),
]


def filled(body: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        name: text if value is ... else [text] if isinstance(value, list) and ... in value else value
        for name, value in body.items()
    }


@pytest.mark.parametrize(("service", "method", "path", "body"), OPERATIONS)
def test_unsafe_text_is_refused(world: World, service: str, method: str, path: str, body: dict[str, Any]) -> None:
    is_admin = "admin" in path
    user = world.admin if is_admin else world.owner
    path = path.format(session=world.chat(world.owner).open(), user=world.other.id)
    for text in UNSAFE:
        response = world.services[service].request(method, path, headers=user.headers, json=filled(body, text))
        problem = assert_problem(response, 422, "validation_error")
        assert all(text not in str(error) for error in problem["errors"])
    accepted = world.services[service].request(
        method, path, headers=user.headers, json=filled(body, "Été عربي\u200f 1")
    )
    # Invitations are sent by email, which is not configured here.
    assert accepted.is_success or accepted.json()["code"] == "mail_disabled", accepted.text
