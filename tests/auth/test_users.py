"""Account administration."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.fixtures.database import Sql
from tests.fixtures.services import ADMIN, AUTH, CHAT, User, assert_problem, login, register
from tests.fixtures.world import World
from tests.support.provider import Provider

USERS = f"{AUTH}/admin/users"


def listed(client: TestClient, admin: User, **query: Any) -> list[str]:  # noqa: ANN401 - what a query can hold
    response = client.get(USERS, params=query, headers=admin.headers)
    assert response.status_code == 200, response.text
    return [user["username"] for user in response.json()["users"]]


def change(client: TestClient, admin: User, user_id: str, **fields: object) -> Response:
    return client.put(f"{USERS}/{user_id}", json=fields, headers=admin.headers)


def entries(sql: Sql) -> list[dict[str, Any]]:
    return sql.rows("SELECT actor_id, action, outcome, target_id, details FROM audit_log WHERE action = 'user.updated'")


def make_admin(sql: Sql, user: User) -> None:
    sql.do("UPDATE users SET role = 'admin' WHERE username = %s", [user.username])


def test_admin_sees_account_without_secrets_and_preferences(auth_client: TestClient, admin: User, ada: User) -> None:
    response = auth_client.get(f"{USERS}/{ada.id}", headers=admin.headers)
    assert response.status_code == 200
    account = response.json()
    assert {account.pop(name) is not None for name in ("created_at", "updated_at", "last_login")} == {True}
    assert account == {
        "id": ada.id,
        "email": "ada@example.com",
        "username": "ada",
        "full_name": None,
        "role": "user",
        "is_active": True,
        "is_verified": False,
    }
    (in_list,) = auth_client.get(USERS, params={"search": "ada"}, headers=admin.headers).json()["users"]
    assert in_list == response.json()


def test_list_is_newest_first_and_pages_do_not_overlap(auth_client: TestClient, admin: User, sql: Sql) -> None:
    for number in range(5):
        register(auth_client, f"user{number}")
    sql.do("UPDATE users SET created_at = '2026-01-01' WHERE username <> 'user0'")  # equal times, as after an import
    newest = ["user0", "user4", "user3", "user2", "user1", "root"]
    assert listed(auth_client, admin) == newest
    pages = [listed(auth_client, admin, page=page, size=4) for page in (1, 2, 3)]
    assert pages == [newest[:4], newest[4:], []]
    response = auth_client.get(USERS, params={"page": 2, "size": 4}, headers=admin.headers)
    assert response.json()["pagination"] == {
        "total": 6,
        "page": 2,
        "size": 4,
        "pages": 2,
        "has_next": False,
        "has_prev": True,
    }


@pytest.mark.parametrize(
    ("search", "found"),
    [
        pytest.param("Ada@Example", ["ada"], id="address in any case"),
        pytest.param("ADA", ["ada"], id="name in any case"),
        pytest.param("lovelace", ["ada"], id="full name in any case"),
        pytest.param("ÜBER", ["ben"], id="beyond ASCII"),
        pytest.param("100%", ["ben"], id="per cent"),
        pytest.param("%", ["ben"], id="per cent alone"),
        pytest.param("_", ["cy_d"], id="underscore"),
        pytest.param("\\", ["ben"], id="backslash"),
        pytest.param("/", [], id="the character that escapes"),
        pytest.param("a%a", [], id="no pattern"),
        pytest.param("", ["cy_d", "ben", "ada", "root"], id="nothing"),
    ],
)
def test_search_is_literal_in_addresses_and_names(
    auth_client: TestClient, admin: User, search: str, found: list[str]
) -> None:
    register(auth_client, "ada", full_name="Ada Lovelace")
    register(auth_client, "ben", full_name="über 100% \\ ben")
    register(auth_client, "cy_d")
    assert listed(auth_client, admin, search=search) == found


def test_list_can_be_filtered_by_state_and_role(auth_client: TestClient, admin: User, ada: User, bob: User) -> None:
    change(auth_client, admin, bob.id, is_active=False)
    assert listed(auth_client, admin, is_active=True) == ["ada", "root"]
    assert listed(auth_client, admin, is_active=False) == ["bob"]
    assert listed(auth_client, admin, role="admin") == ["root"]
    assert listed(auth_client, admin, role="user", is_active=True, search="example.com") == ["ada"]


@pytest.mark.parametrize("fields", [{}, {"role": "user"}], ids=["read", "change"])
def test_unknown_account_is_not_found(auth_client: TestClient, admin: User, sql: Sql, fields: dict[str, str]) -> None:
    path = f"{USERS}/{uuid4()}"
    response = auth_client.request("PUT" if fields else "GET", path, json=fields or None, headers=admin.headers)
    assert_problem(response, 404, "not_found")
    assert entries(sql) == []


def test_update_is_stored_returned_and_audited_without_personal_data(
    auth_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    before = auth_client.get(f"{USERS}/{ada.id}", headers=admin.headers).json()
    fields = {"role": "admin", "is_verified": True, "full_name": "Ada King"}
    response = change(auth_client, admin, ada.id, **fields)
    assert response.status_code == 200
    after = auth_client.get(f"{USERS}/{ada.id}", headers=admin.headers).json()
    assert response.json() == after
    assert after.pop("updated_at") > before.pop("updated_at")
    assert after == before | fields
    (entry,) = entries(sql)
    assert entry == {
        "actor_id": sql.value("SELECT uuid FROM users WHERE username = 'root'"),
        "action": "user.updated",
        "outcome": "done",
        "target_id": sql.value("SELECT uuid FROM users WHERE username = 'ada'"),
        "details": {
            "changed": ["full_name", "is_verified", "role"],
            "before": {"role": "user", "is_active": True, "is_verified": False},
            "after": {"role": "admin", "is_active": True, "is_verified": True},
        },
    }


def test_null_removes_full_name_and_absence_keeps_it(auth_client: TestClient, admin: User, ada: User) -> None:
    change(auth_client, admin, ada.id, full_name="Ada Lovelace")
    assert change(auth_client, admin, ada.id, is_verified=True).json()["full_name"] == "Ada Lovelace"
    assert change(auth_client, admin, ada.id, full_name=None).json()["full_name"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"role": None},
        {"role": "owner"},
        {"is_active": None},
        {"is_active": 0},
        {"is_active": "false"},
        {"is_verified": None},
        {"full_name": ""},
        {"full_name": "x" * 201},
        {"email": "other@example.com"},
        {"username": "other"},
        {"password_hash": "x"},
        {"role": "admin", "last_login": None},
    ],
    ids=str,
)
def test_invalid_update_is_refused(
    auth_client: TestClient, admin: User, ada: User, sql: Sql, fields: dict[str, Any]
) -> None:
    before = sql.rows("SELECT * FROM users ORDER BY id")
    assert_problem(change(auth_client, admin, ada.id, **fields), 422, "validation_error")
    assert sql.rows("SELECT * FROM users ORDER BY id") == before


def test_update_without_change_is_not_audited(auth_client: TestClient, admin: User, ada: User, sql: Sql) -> None:
    before = sql.rows("SELECT * FROM users ORDER BY id")
    response = change(auth_client, admin, ada.id, role="user", is_active=True, full_name=None)
    assert response.status_code == 200
    assert sql.rows("SELECT * FROM users ORDER BY id") == before
    assert entries(sql) == []
    # An update that contains the current values is accepted for the last admin.
    assert change(auth_client, admin, admin.id, role="admin", is_active=True).status_code == 200


def test_disabling_ends_logins_permanently_on_every_service(
    auth_client: TestClient, chat_client: TestClient, admin_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    doors = [(auth_client, f"{AUTH}/me"), (chat_client, f"{CHAT}/sessions"), (admin_client, f"{ADMIN}/overview")]
    make_admin(sql, ada)
    login(auth_client, "ada")  # another device
    assert [client.get(path, headers=ada.headers).status_code for client, path in doors] == [200] * 3
    assert change(auth_client, admin, ada.id, is_active=False).status_code == 200
    for client, path in doors:
        assert_problem(client.get(path, headers=ada.headers), 401, "unauthorized")
    assert_problem(auth_client.post(f"{AUTH}/refresh", json={"refresh_token": ada.refresh_token}), 401)
    assert_problem(login(auth_client, "ada"), 401, "invalid_credentials")
    reasons = sql.rows("SELECT username, revoked_reason FROM auth_sessions JOIN users ON users.id = user_id ORDER BY 1")
    assert [tuple(row.values()) for row in reasons] == [("ada", "disabled"), ("ada", "disabled"), ("root", None)]

    assert change(auth_client, admin, ada.id, is_active=True).status_code == 200
    for client, path in doors:
        assert_problem(client.get(path, headers=ada.headers), 401, "unauthorized")
    assert_problem(auth_client.post(f"{AUTH}/refresh", json={"refresh_token": ada.refresh_token}), 401)
    assert login(auth_client, "ada").status_code == 200


def test_api_keys_are_refused_while_account_is_disabled(world: World) -> None:
    auth_client, chat_client = world.services["auth"], world.services["chat"]
    headers = {"Authorization": f"Bearer {world.api_key(world.owner, 'chat:read')}"}
    statuses = []
    for is_active in (False, True):
        change(auth_client, world.admin, world.owner.id, is_active=is_active)
        statuses.append(chat_client.get(f"{CHAT}/sessions", headers=headers).status_code)
    assert statuses == [401, 200]


def test_enabling_does_not_restore_open_logins(auth_client: TestClient, admin: User, ada: User, sql: Sql) -> None:
    sql.do("UPDATE users SET is_active = false WHERE username = 'ada'")  # directly, without ending the login
    change(auth_client, admin, ada.id, is_active=True)
    assert_problem(auth_client.get(f"{AUTH}/me", headers=ada.headers), 401, "unauthorized")


def test_demotion_takes_effect_on_next_request_on_every_service(
    auth_client: TestClient, chat_client: TestClient, admin_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    make_admin(sql, ada)
    assert admin_client.get(f"{ADMIN}/overview", headers=ada.headers).status_code == 200
    assert change(auth_client, admin, ada.id, role="user").status_code == 200
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
    assert_problem(change(auth_client, admin, admin.id, full_name="Root", **fields), 409, "last_admin")
    assert sql.value("SELECT (role, is_active, full_name)::text FROM users WHERE username = 'root'") == "(admin,t,)"
    (entry,) = entries(sql)
    assert (entry["outcome"], entry["target_id"]) == ("refused", entry["actor_id"])
    assert entry["details"] == {"reason": "last_admin", "changed": sorted(["full_name", *fields])}
    # With another active admin the update is accepted.
    make_admin(sql, ada)
    assert change(auth_client, admin, admin.id, **fields).status_code == 200


@pytest.fixture
def blocker(database_url: str) -> Iterator[Sql]:
    """A second connection, which holds locks."""
    connection = Sql(database_url)
    yield connection
    connection.close()


def together(sql: Sql, blocker: Sql, *calls: Callable[[], Response]) -> list[int]:
    """Run the calls concurrently, all waiting for the same lock, and return their statuses in order."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    blocker.do("BEGIN; SELECT FROM users ORDER BY id FOR UPDATE")
    with ThreadPoolExecutor(len(calls)) as pool:
        running = []
        for call in calls:
            running.append(pool.submit(call))
            Provider.wait_until(lambda: sql.value(waiting) == len(running))
        blocker.do("COMMIT")
        return [call.result().status_code for call in running]


@pytest.mark.parametrize("fields", [{"role": "user"}, {"is_active": False}], ids=["demote", "disable"])
def test_two_admins_cannot_remove_each_other_concurrently(
    auth_client: TestClient, admin: User, ada: User, sql: Sql, blocker: Sql, fields: dict[str, Any]
) -> None:
    make_admin(sql, ada)
    statuses = together(
        sql,
        blocker,
        lambda: change(auth_client, admin, ada.id, **fields),
        lambda: change(auth_client, ada, admin.id, **fields),
    )
    assert statuses == [200, 409]
    assert sql.rows("SELECT username FROM users WHERE role = 'admin' AND is_active") == [{"username": "root"}]


def test_concurrently_demoted_admin_cannot_update(
    auth_client: TestClient, admin: User, ada: User, bob: User, sql: Sql, blocker: Sql
) -> None:
    make_admin(sql, ada)
    statuses = together(
        sql,
        blocker,
        lambda: change(auth_client, admin, ada.id, role="user"),
        lambda: change(auth_client, ada, bob.id, role="admin"),
    )
    assert statuses == [200, 403]
    assert sql.value("SELECT role FROM users WHERE username = 'bob'") == "user"
    assert [entry["details"]["reason"] for entry in entries(sql) if entry["outcome"] == "refused"] == ["admin_required"]


def test_audit_entry_contains_actor_target_and_origin(
    auth_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    response = change(auth_client, admin, ada.id, is_verified=True)
    (entry,) = sql.rows(
        "SELECT actor_id::text, target_id::text, ip, request_id FROM audit_log WHERE action = 'user.updated'"
    )
    assert entry == {
        "actor_id": admin.id,
        "target_id": ada.id,
        "ip": None,  # the test client has no address
        "request_id": response.headers["X-Request-ID"],
    }


def test_update_that_cannot_be_audited_is_rolled_back(
    auth_client: TestClient, admin: User, ada: User, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.database.repositories.audit.audit_log.record", fail)
    assert_problem(change(auth_client, admin, ada.id, is_active=False), 500, "internal_error")
    assert sql.value("SELECT is_active FROM users WHERE username = 'ada'") is True
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).status_code == 200


def test_refused_admin_access_is_audited(
    auth_client: TestClient, admin_client: TestClient, ada: User, sql: Sql
) -> None:
    for client, path in [(auth_client, USERS), (admin_client, f"{ADMIN}/overview")]:
        assert_problem(client.get(path, headers=ada.headers), 403, "admin_required")
    found = sql.rows("SELECT actor_id::text, outcome FROM audit_log WHERE action = 'admin.access'")
    assert found == [{"actor_id": ada.id, "outcome": "refused"}] * 2
