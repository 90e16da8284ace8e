"""Updates of accounts, and their audit entries."""

from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from tests.auth.users.user_requests import USERS, entries, update_user
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, User, assert_problem


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
    response = update_user(auth_client, admin, ada.id, **fields)
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
    update_user(auth_client, admin, ada.id, full_name="Ada Lovelace")
    assert update_user(auth_client, admin, ada.id, is_verified=True).json()["full_name"] == "Ada Lovelace"
    assert update_user(auth_client, admin, ada.id, full_name=None).json()["full_name"] is None


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
    assert_problem(update_user(auth_client, admin, ada.id, **fields), 422, "validation_error")
    assert sql.rows("SELECT * FROM users ORDER BY id") == before


def test_update_without_change_is_not_audited(auth_client: TestClient, admin: User, ada: User, sql: Sql) -> None:
    before = sql.rows("SELECT * FROM users ORDER BY id")
    response = update_user(auth_client, admin, ada.id, role="user", is_active=True, full_name=None)
    assert response.status_code == 200
    assert sql.rows("SELECT * FROM users ORDER BY id") == before
    assert entries(sql) == []
    # An update that contains the current values is accepted for the last admin.
    assert update_user(auth_client, admin, admin.id, role="admin", is_active=True).status_code == 200


def test_audit_entry_contains_actor_target_and_origin(
    auth_client: TestClient, admin: User, ada: User, sql: Sql
) -> None:
    response = update_user(auth_client, admin, ada.id, is_verified=True)
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
    assert_problem(update_user(auth_client, admin, ada.id, is_active=False), 500, "internal_error")
    assert sql.value("SELECT is_active FROM users WHERE username = 'ada'") is True
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).status_code == 200
