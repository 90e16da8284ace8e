"""API keys: management on the auth service, use on the chat service."""

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app import main
from app.config import Settings
from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import ADMIN, AUTH, CHAT, Chat, User, assert_problem

ALL_SCOPES = ["chat:read", "chat:write"]


def post(client: TestClient, user: User, **fields: object) -> Response:
    return client.post(f"{AUTH}/api-keys", json={"name": "report", "scopes": ALL_SCOPES} | fields, headers=user.headers)


def new_key(client: TestClient, user: User, **fields: object) -> dict[str, Any]:
    response = post(client, user, **fields)
    assert response.status_code == 201, response.text
    return dict(response.json())


def listed(client: TestClient, user: User, query: str = "") -> dict[str, Any]:
    response = client.get(f"{AUTH}/api-keys{query}", headers=user.headers)
    assert response.status_code == 200, response.text
    return dict(response.json())


def key_client(client: TestClient, owner: User, key: str) -> Chat:
    """A client of the chat service with an API key."""
    return Chat(client, replace(owner, access_token=key))


def test_key_is_shown_once_and_listed_by_prefix(auth_client: TestClient, ada: User) -> None:
    created = new_key(auth_client, ada, name=" report ", scopes=["chat:read"])
    key = created.pop("key")
    assert re.fullmatch(r"cbk_[A-Za-z0-9_-]{43}", key)
    assert created["prefix"] == key[:12]
    assert (created["name"], created["scopes"], created["expires_at"]) == ("report", ["chat:read"], None)
    assert listed(auth_client, ada)["api_keys"] == [created]
    assert created["last_used_at"] is None


def test_keys_are_paginated_newest_first(auth_client: TestClient, ada: User, bob: User) -> None:
    names = [f"key {number}" for number in range(5)]
    for name in names:
        new_key(auth_client, ada, name=name)
    new_key(auth_client, bob)
    pages = [listed(auth_client, ada, f"?size=2&page={page}") for page in (1, 2, 3)]
    assert [key["name"] for page in pages for key in page["api_keys"]] == names[::-1]
    assert pages[0]["pagination"] == {
        "total": 5,
        "page": 1,
        "size": 2,
        "pages": 3,
        "has_next": True,
        "has_prev": False,
    }


@pytest.mark.parametrize("days", [1, 365])
def test_key_expires_after_requested_days(auth_client: TestClient, ada: User, days: int) -> None:
    expires_at = datetime.fromisoformat(new_key(auth_client, ada, expires_in_days=days)["expires_at"])
    assert abs(expires_at - datetime.now(UTC) - timedelta(days=days)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " "),
        ("name", "x" * 101),
        ("name", "nul \x00"),
        ("name", None),
        ("scopes", []),
        ("scopes", ["chat:admin"]),
        ("scopes", "chat:read"),
        ("scopes", None),
        ("expires_in_days", 0),
        ("expires_in_days", 366),
        ("expires_in_days", 10**30),
        ("user_id", 1),
        ("key", "cbk_chosen"),
        ("prefix", "cbk_chosen"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_invalid_key_request_is_refused(
    auth_client: TestClient, ada: User, sql: Sql, field: str, value: object
) -> None:
    problem = assert_problem(post(auth_client, ada, **{field: value}), 422, "validation_error")
    assert problem["errors"][0]["field"].startswith(f"body.{field}")
    assert sql.value("SELECT count(*) FROM api_keys") == 0


def test_concurrent_requests_cannot_exceed_twenty_keys(auth_client: TestClient, ada: User, bob: User) -> None:
    for _ in range(15):
        new_key(auth_client, ada)
    with ThreadPoolExecutor(12) as pool:
        responses = list(pool.map(lambda _: post(auth_client, ada), range(12)))
    assert sorted(response.status_code for response in responses) == [201] * 5 + [409] * 7
    assert_problem(post(auth_client, ada), 409, "too_many_api_keys")
    new_key(auth_client, bob)  # has his own limit
    oldest = listed(auth_client, ada, "?page=20&size=1")["api_keys"][0]["id"]
    auth_client.delete(f"{AUTH}/api-keys/{oldest}", headers=ada.headers)
    new_key(auth_client, ada)


def test_login_that_ends_concurrently_creates_no_key(auth_client: TestClient, ada: User, sql: Sql) -> None:
    with ThreadPoolExecutor(1) as pool:
        sql.do("BEGIN")
        try:
            # As a password reset does.
            sql.do("SELECT FROM users FOR NO KEY UPDATE")
            waiting = pool.submit(post, auth_client, ada)
            sql.wait_for_blocked()  # it is authenticated and waits for the lock
            sql.do("UPDATE auth_sessions SET revoked_at = now(), revoked_reason = 'password_reset'")
        finally:
            sql.do("COMMIT")
        assert_problem(waiting.result(), 401, "unauthorized")
    assert sql.value("SELECT count(*) FROM api_keys") == 0


def test_key_authenticates_as_its_owner_in_chat(
    auth_client: TestClient, chat: Chat, others_chat: Chat, ada: User, bob: User
) -> None:
    session = chat.open(title="Ada's")
    key_chat = key_client(chat.client, ada, new_key(auth_client, ada)["key"])
    assert key_chat.ask(session, "Hi")["ai_response"]["content"] == "Hello."
    assert [row["title"] for row in key_chat.request("GET", "/sessions").json()["sessions"]] == ["Ada's"]
    others = key_client(chat.client, bob, new_key(auth_client, bob)["key"])
    assert_problem(others.request("GET", f"/sessions/{session}"), 404, "not_found")
    assert others.request("GET", "/sessions").json()["sessions"] == []


def requests_of_each_kind(chat: Chat, session: str) -> dict[str, list[Response]]:
    return {
        "chat:read": [chat.request("GET", "/sessions"), chat.request("GET", f"/sessions/{session}")],
        "chat:write": [
            chat.request("POST", "/direct", json={"message": "Hi"}),
            chat.request("POST", "/sessions", json={}),
            chat.request("POST", f"/sessions/{session}/messages", json={"message": "Hi"}),
            chat.request("DELETE", f"/sessions/{session}"),
        ],
    }


@pytest.mark.parametrize("scope", ALL_SCOPES)
def test_key_is_limited_to_its_scopes(auth_client: TestClient, chat: Chat, ada: User, scope: str) -> None:
    key_chat = key_client(chat.client, ada, new_key(auth_client, ada, scopes=[scope])["key"])
    for needed, responses in requests_of_each_kind(key_chat, chat.open()).items():
        for response in responses:
            if needed == scope:
                assert response.is_success, response.text
            else:
                assert_problem(response, 403, "scope_required")


def test_key_cannot_manage_account_or_log_in(
    auth_client: TestClient, chat_client: TestClient, admin_client: TestClient, admin: User
) -> None:
    key_chat = replace(admin, access_token=new_key(auth_client, admin)["key"])
    assert chat_client.get(f"{CHAT}/sessions", headers=key_chat.headers).status_code == 200
    refused = [
        auth_client.get(f"{AUTH}/me", headers=key_chat.headers),
        auth_client.put(f"{AUTH}/profile", json={"full_name": "x"}, headers=key_chat.headers),
        auth_client.get(f"{AUTH}/api-keys", headers=key_chat.headers),
        post(auth_client, key_chat),
        auth_client.delete(f"{AUTH}/api-keys/{admin.id}", headers=key_chat.headers),
        admin_client.get(f"{ADMIN}/overview", headers=key_chat.headers),
    ]
    ordinary = assert_problem(auth_client.get(f"{AUTH}/me", headers={"Authorization": "Bearer x.y.z"}), 401)
    for response in refused:
        assert assert_problem(response, 401) | {"request_id": ""} == ordinary | {"request_id": ""}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("DELETE FROM api_keys", id="deleted"),
        pytest.param("UPDATE api_keys SET expires_at = now()", id="expired"),
        pytest.param("UPDATE users SET is_active = false", id="account disabled"),
        pytest.param("DELETE FROM users", id="account erased"),
    ],
)
def test_invalidated_key_is_refused_on_next_request(
    auth_client: TestClient, chat_client: TestClient, ada: User, sql: Sql, change: str
) -> None:
    key_chat = key_client(chat_client, ada, new_key(auth_client, ada, expires_in_days=1)["key"])
    assert key_chat.request("GET", "/sessions").status_code == 200
    sql.do(change)
    assert_problem(key_chat.request("GET", "/sessions"), 401, "unauthorized")


@pytest.mark.parametrize("key", ["cbk_", "cbk_" + "x" * 43, "cbk_" + "x" * 5000, "cbk_äöü"])
def test_unknown_key_is_refused_like_invalid_token(chat_client: TestClient, key: str) -> None:
    response = chat_client.get(f"{CHAT}/sessions", headers={b"Authorization": f"Bearer {key}".encode()})
    assert_problem(response, 401, "unauthorized")


def test_deleted_key_is_refused_and_not_listed(auth_client: TestClient, chat_client: TestClient, ada: User) -> None:
    created = new_key(auth_client, ada)
    path = f"{AUTH}/api-keys/{created['id']}"
    response = auth_client.delete(path, headers=ada.headers)
    assert (response.status_code, list(response.json())) == (200, ["message"])
    assert_problem(key_client(chat_client, ada, created["key"]).request("GET", "/sessions"), 401, "unauthorized")
    assert listed(auth_client, ada)["api_keys"] == []
    assert_problem(auth_client.delete(path, headers=ada.headers), 404, "not_found")


def test_key_of_another_account_is_not_found(auth_client: TestClient, ada: User, bob: User) -> None:
    created = new_key(auth_client, bob)
    assert_problem(auth_client.delete(f"{AUTH}/api-keys/{created['id']}", headers=ada.headers), 404, "not_found")
    assert len(listed(auth_client, bob)["api_keys"]) == 1
    assert listed(auth_client, ada)["api_keys"] == []


def test_last_use_is_recorded_per_minute_with_one_statement(
    auth_client: TestClient, chat_client: TestClient, ada: User, sql: Sql
) -> None:
    key_chat = key_client(chat_client, ada, new_key(auth_client, ada)["key"])
    writes = []
    for age in (None, "10 seconds", "61 seconds"):
        if age is not None:
            sql.do("UPDATE api_keys SET last_used_at = now() - %s::interval", [age])
        before = sql.value("SELECT xmin::text FROM api_keys")
        with counted_statements() as statements:
            assert key_chat.request("GET", f"/sessions/{ada.id}").status_code == 404
        assert sum("api_keys" in statement for statement in statements) == 1
        writes.append(sql.value("SELECT xmin::text FROM api_keys") != before)
    assert writes == [True, False, True]
    assert sql.value("SELECT now() - last_used_at < interval '5 seconds' FROM api_keys")


def test_key_is_neither_logged_nor_stored(
    auth_client: TestClient, chat: Chat, ada: User, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    created = new_key(auth_client, ada)
    key, secret = created["key"], created["key"].removeprefix(created["prefix"])
    key_chat = key_client(chat.client, ada, key)
    key_chat.ask(chat.open(), "Hi")
    auth_client.get(f"{AUTH}/me", headers=key_chat.user.headers)
    key_chat.request("GET", "/nothing")
    auth_client.delete(f"{AUTH}/api-keys/{created['id']}", headers=ada.headers)
    key_chat.request("GET", "/sessions")
    new_key(auth_client, ada)
    assert "create_api_key" in caplog.text
    assert secret not in caplog.text
    assert all(secret not in str(vars(record)) for record in caplog.records)
    stored = "".join(sql.everything().values())
    assert created["id"] in stored  # in the audit log
    assert secret not in stored
    assert secret.encode().hex() not in stored


def test_creation_and_deletion_are_audited(auth_client: TestClient, ada: User, sql: Sql) -> None:
    created = new_key(auth_client, ada, name="canary", scopes=["chat:read"])
    auth_client.delete(f"{AUTH}/api-keys/{created['id']}", headers=ada.headers)
    entries = sql.rows("SELECT * FROM audit_log WHERE action LIKE 'api_key.%%' ORDER BY id")
    assert [(entry["action"], entry["outcome"], entry["details"]) for entry in entries] == [
        ("api_key.created", "done", {"scopes": ["chat:read"]}),
        ("api_key.deleted", "done", {}),
    ]
    assert {(str(entry["actor_id"]), str(entry["target_id"])) for entry in entries} == {(ada.id, created["id"])}
    assert "canary" not in sql.everything()["audit_log"]


def test_unverified_account_cannot_chat_if_verification_is_required(
    settings: Settings, auth_client: TestClient, ada: User, sql: Sql
) -> None:
    key = new_key(auth_client, ada)["key"]
    with TestClient(main.create(settings.model_copy(update={"UNVERIFIED_MAY_CHAT": False}))) as strict:
        clients = Chat(strict, ada), key_client(strict, ada, key)
        for chat in clients:
            assert_problem(chat.request("GET", "/sessions"), 403, "email_not_verified")
            assert_problem(chat.request("POST", "/sessions", json={}), 403, "email_not_verified")
        sql.do("UPDATE users SET is_verified = true")
        for chat in clients:
            assert chat.request("GET", "/sessions").status_code == 200
