"""Administration of shared conversations."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.core.schema_types import new_id
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, CHAT, Chat, User, assert_problem

Share = Callable[[Chat], dict[str, Any]]


@pytest.fixture
def share() -> Share:
    """Function that shares a new session of a user."""

    def make(chat: Chat) -> dict[str, Any]:
        session = chat.open(title="canary7f3a")
        chat.ask(session, "canary7f3a")
        return dict(chat.request("POST", f"/sessions/{session}/share", json={}).json())

    return make


def test_list_has_metadata_without_text_and_link(
    admin_client: TestClient, admin: User, chat: Chat, others_chat: Chat, share: Share
) -> None:
    mine, theirs = share(chat), share(others_chat)
    response = admin_client.get(f"{ADMIN}/shares", headers=admin.headers)
    listed = response.json()
    assert [(one["id"], one["user_id"], one["session_id"]) for one in listed["shares"]] == [
        (theirs["id"], others_chat.user.id, theirs["session_id"]),
        (mine["id"], chat.user.id, mine["session_id"]),
    ]
    assert listed["next"] is None
    assert set(listed["shares"][0]) == {
        "id",
        "user_id",
        "session_id",
        "message_count",
        "include_models",
        "created_at",
        "expires_at",
    }
    assert "canary7f3a" not in response.text
    assert mine["token"] not in response.text
    filtered = admin_client.get(f"{ADMIN}/shares", params={"user": chat.user.id}, headers=admin.headers).json()
    assert [one["id"] for one in filtered["shares"]] == [mine["id"]]


def test_pages_neither_skip_nor_repeat_while_shares_are_created_and_revoked(
    admin_client: TestClient, admin: User, chat: Chat, share: Share, sql: Sql
) -> None:
    made = [share(chat)["id"] for _ in range(5)]
    seen, after = [], None
    while True:
        query = {"limit": "2"} | ({"after": after} if after else {})
        page = admin_client.get(f"{ADMIN}/shares", params=query, headers=admin.headers).json()
        seen += [one["id"] for one in page["shares"]]
        after = page["next"]
        if after is None:
            break
        sql.do("DELETE FROM chat_shares WHERE uuid = %s", [after])  # the position need not exist any more
        share(chat)
    assert seen == made[::-1]


def test_admin_revokes_a_share_and_it_is_audited_for_the_owner(
    admin_client: TestClient, admin: User, chat: Chat, share: Share, sql: Sql
) -> None:
    shared = share(chat)
    response = admin_client.delete(f"{ADMIN}/shares/{shared['id']}", headers=admin.headers)
    assert response.status_code == 200, response.text
    assert_problem(chat.client.get(f"{CHAT}/shared/{shared['token']}"), 404, "not_found")
    (entry,) = sql.rows("SELECT * FROM audit_log WHERE action = 'share.deleted'")
    assert (str(entry["actor_id"]), str(entry["target_id"])) == (admin.id, chat.user.id)
    assert entry["details"] == {"share": shared["id"], "session": shared["session_id"]}
    for unknown in (shared["id"], new_id()):
        again = admin_client.delete(f"{ADMIN}/shares/{unknown}", headers=admin.headers)
        assert_problem(again, 404, "not_found")
