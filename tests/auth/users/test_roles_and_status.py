"""Roles and status of accounts: effect on open logins, and the last admin."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.auth.users.user_requests import USERS, entries, make_admin, update_user
from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, CHAT, User, assert_problem, login
from tests.fixtures.world import World


def test_disabling_ends_logins_permanently_on_every_service(
    auth_client: TestClient, chat_client: TestClient, admin_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    endpoints = [(auth_client, f"{AUTH}/me"), (chat_client, f"{CHAT}/sessions"), (admin_client, f"{ADMIN}/overview")]
    make_admin(sql, ada)
    login(auth_client, "ada")  # another device
    assert [client.get(path, headers=ada.headers).status_code for client, path in endpoints] == [200] * 3
    assert update_user(auth_client, admin, ada.id, is_active=False).status_code == 200
    for client, path in endpoints:
        assert_problem(client.get(path, headers=ada.headers), 401, "unauthorized")
    assert_problem(auth_client.post(f"{AUTH}/refresh", json={"refresh_token": ada.refresh_token}), 401)
    assert_problem(login(auth_client, "ada"), 401, "invalid_credentials")
    reasons = sql.rows("SELECT username, revoked_reason FROM auth_sessions JOIN users ON users.id = user_id ORDER BY 1")
    assert [tuple(row.values()) for row in reasons] == [("ada", "disabled"), ("ada", "disabled"), ("root", None)]

    assert update_user(auth_client, admin, ada.id, is_active=True).status_code == 200
    for client, path in endpoints:
        assert_problem(client.get(path, headers=ada.headers), 401, "unauthorized")
    assert_problem(auth_client.post(f"{AUTH}/refresh", json={"refresh_token": ada.refresh_token}), 401)
    assert login(auth_client, "ada").status_code == 200


def test_api_keys_are_refused_while_account_is_disabled(world: World) -> None:
    auth_client, chat_client = world.services["auth"], world.services["chat"]
    headers = {"Authorization": f"Bearer {world.api_key(world.owner, 'chat:read')}"}
    statuses = []
    for is_active in (False, True):
        update_user(auth_client, world.admin, world.owner.id, is_active=is_active)
        statuses.append(chat_client.get(f"{CHAT}/sessions", headers=headers).status_code)
    assert statuses == [401, 200]


def test_enabling_does_not_restore_open_logins(auth_client: TestClient, admin: User, ada: User, sql: Sql) -> None:
    sql.do("UPDATE users SET is_active = false WHERE username = 'ada'")  # directly, without ending the login
    update_user(auth_client, admin, ada.id, is_active=True)
    assert_problem(auth_client.get(f"{AUTH}/me", headers=ada.headers), 401, "unauthorized")


def test_demotion_takes_effect_on_next_request_on_every_service(
    auth_client: TestClient, chat_client: TestClient, admin_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    make_admin(sql, ada)
    assert admin_client.get(f"{ADMIN}/overview", headers=ada.headers).status_code == 200
    assert update_user(auth_client, admin, ada.id, role="user").status_code == 200
    assert_problem(admin_client.get(f"{ADMIN}/overview", headers=ada.headers), 403, "admin_required")
    assert_problem(auth_client.get(USERS, headers=ada.headers), 403, "admin_required")
    # Operations for users are still permitted.
    assert chat_client.get(f"{CHAT}/sessions", headers=ada.headers).status_code == 200


@pytest.mark.parametrize("fields", [{"role": "user"}, {"is_active": False}], ids=["demote", "disable"])
def test_last_active_admin_cannot_be_demoted_or_disabled(
    auth_client: TestClient, admin: User, ada: User, bob: User, sql: Sql, fields: dict[str, Any]
) -> None:
    make_admin(sql, bob)
    sql.do("UPDATE users SET is_active = false WHERE username = 'bob'")  # a disabled admin does not count
    assert_problem(update_user(auth_client, admin, admin.id, full_name="Root", **fields), 409, "last_admin")
    assert sql.value("SELECT (role, is_active, full_name)::text FROM users WHERE username = 'root'") == "(admin,t,)"
    (entry,) = entries(sql)
    assert (entry["outcome"], entry["target_id"]) == ("refused", entry["actor_id"])
    assert entry["details"] == {"reason": "last_admin", "changed": sorted(["full_name", *fields]), "count": 1}
    # With another active admin the update is accepted.
    make_admin(sql, ada)
    assert update_user(auth_client, admin, admin.id, **fields).status_code == 200


def run_while_locked(sql: Sql, blocker: Sql, *calls: Callable[[], Response]) -> list[int]:
    """Run the calls concurrently, all waiting for the same lock, and return their statuses in order."""
    blocker.do("BEGIN; SELECT FROM users ORDER BY id FOR UPDATE")
    with ThreadPoolExecutor(len(calls)) as pool:
        running = []
        for call in calls:
            running.append(pool.submit(call))
            sql.wait_for_blocked(len(running))
        blocker.do("COMMIT")
        return [call.result().status_code for call in running]


@pytest.mark.parametrize("fields", [{"role": "user"}, {"is_active": False}], ids=["demote", "disable"])
def test_two_admins_cannot_remove_each_other_concurrently(
    auth_client: TestClient, admin: User, ada: User, sql: Sql, blocker: Sql, fields: dict[str, Any]
) -> None:
    make_admin(sql, ada)
    statuses = run_while_locked(
        sql,
        blocker,
        lambda: update_user(auth_client, admin, ada.id, **fields),
        lambda: update_user(auth_client, ada, admin.id, **fields),
    )
    assert statuses == [200, 409]
    assert sql.rows("SELECT username FROM users WHERE role = 'admin' AND is_active") == [{"username": "root"}]


def test_concurrently_demoted_admin_cannot_update(
    auth_client: TestClient, admin: User, ada: User, bob: User, sql: Sql, blocker: Sql
) -> None:
    make_admin(sql, ada)
    statuses = run_while_locked(
        sql,
        blocker,
        lambda: update_user(auth_client, admin, ada.id, role="user"),
        lambda: update_user(auth_client, ada, bob.id, role="admin"),
    )
    assert statuses == [200, 403]
    assert sql.value("SELECT role FROM users WHERE username = 'bob'") == "user"
    assert [entry["details"]["reason"] for entry in entries(sql) if entry["outcome"] == "refused"] == ["admin_required"]


def test_refused_admin_access_is_audited(
    auth_client: TestClient, admin_client: TestClient, ada: User, sql: Sql
) -> None:
    for client, path in [(auth_client, USERS), (admin_client, f"{ADMIN}/overview")]:
        assert_problem(client.get(path, headers=ada.headers), 403, "admin_required")
    found = sql.rows("SELECT actor_id::text, outcome FROM audit_log WHERE action = 'admin.access'")
    assert found == [{"actor_id": ada.id, "outcome": "refused"}] * 2
