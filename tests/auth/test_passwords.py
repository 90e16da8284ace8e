"""Passwords: rules, hashing, changes."""

import unicodedata
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from passlib.hash import argon2

from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, PASSWORD, User, assert_problem, login, register

OTHER = "another horse, another staple"


def change(client: TestClient, user: User, current: str, new: str) -> Response:
    return client.put(f"{AUTH}/password", headers=user.headers, json={"current_password": current, "new_password": new})


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("8 letter", id="8"),
        pytest.param("x" * 63 + "y", id="64"),
        pytest.param("x" * 72 + "y", id="73"),
        pytest.param("x" * 255 + "y", id="256"),
        pytest.param("🐎🔋📎🐎🔋📎🐎🔋", id="emoji"),
        pytest.param("        ", id="spaces"),
        pytest.param("päßwörter", id="umlauts"),
    ],
)
def test_passwords_are_not_truncated(auth_client: TestClient, sql: Sql, password: str) -> None:
    assert register(auth_client, "ada", password=password).status_code == 201
    assert login(auth_client, "ada", password).status_code == 200
    for wrong in (password[:-1] + "z", password[:-1], password[:72] + "z" * len(password[72:]) + "z"):
        assert login(auth_client, "ada", wrong[:256]).status_code == 401


@pytest.mark.parametrize(
    ("password", "status"),
    [
        pytest.param("7 chars", 422, id="7"),
        pytest.param("x" * 257, 422, id="257"),
        pytest.param("x" * 1_000_000, 413, id="1 MB"),
        pytest.param("nul \x00 in it", 422, id="nul"),
        pytest.param("", 422, id="empty"),
    ],
)
def test_invalid_passwords_are_refused_by_every_operation(
    auth_client: TestClient, sql: Sql, ada: User, password: str, status: int
) -> None:
    assert_problem(register(auth_client, "bob", password=password), status)
    assert_problem(change(auth_client, ada, PASSWORD, password), status)
    if len(password) != 7:
        assert_problem(login(auth_client, "ada", password), status)
    assert login(auth_client, "ada").status_code == 200


@pytest.mark.parametrize("password", ["password", "PASSWORD", "12345678", "Iloveyou", "qwertyuiop"])
def test_common_passwords_are_refused(auth_client: TestClient, sql: Sql, ada: User, password: str) -> None:
    for response in (
        register(auth_client, "bob", password=password),
        change(auth_client, ada, PASSWORD, password),
    ):
        problem = assert_problem(response, 422, "validation_error")
        assert problem["errors"][0]["code"] == "common_password"


def test_passwords_are_compared_in_normalized_form(auth_client: TestClient, sql: Sql) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Ångström ünïcode") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert register(auth_client, "ada", password=composed).status_code == 201
    assert login(auth_client, "ada", decomposed).status_code == 200


def test_password_change_takes_effect_and_ends_other_logins(
    auth_client: TestClient, sql: Sql, ada: User, log_in_again: Callable[[User], User]
) -> None:
    phone = log_in_again(ada)
    assert change(auth_client, ada, PASSWORD, OTHER).status_code == 200
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).status_code == 200
    assert_problem(auth_client.get(f"{AUTH}/me", headers=phone.headers), 401, "unauthorized")
    assert login(auth_client, "ada").status_code == 401
    assert login(auth_client, "ada", OTHER).status_code == 200
    (entry,) = sql.rows("SELECT actor_id::text, details FROM audit_log WHERE action = 'password.changed'")
    assert entry == {"actor_id": ada.id, "details": {"logins_ended": 1}}


def test_password_change_requires_current_password(auth_client: TestClient, sql: Sql, ada: User) -> None:
    assert_problem(change(auth_client, ada, "wrong password", OTHER), 400, "wrong_password")
    assert login(auth_client, "ada").status_code == 200
    (entry,) = sql.rows("SELECT actor_id::text, outcome FROM audit_log WHERE action = 'password.confirmation'")
    assert entry == {"actor_id": ada.id, "outcome": "refused"}


def test_attempts_at_current_password_are_limited(auth_client: TestClient, sql: Sql, ada: User) -> None:
    for _ in range(10):
        assert_problem(change(auth_client, ada, "wrong password", OTHER), 400, "wrong_password")
    for current in ("wrong password", PASSWORD):
        problem = change(auth_client, ada, current, OTHER)
        assert_problem(problem, 429, "too_many_attempts")
        assert 0 < int(problem.headers["Retry-After"]) <= 900
    # The owner can still log in.
    assert login(auth_client, "ada").status_code == 200


def test_outdated_hash_is_replaced_at_login(auth_client: TestClient, sql: Sql, ada: User) -> None:
    weak = argon2.using(type="ID", memory_cost=32, time_cost=1, parallelism=1).hash(PASSWORD)
    sql.do("UPDATE users SET password_hash = %s", [weak])
    assert login(auth_client, "ada", "wrong password").status_code == 401
    assert sql.value("SELECT password_hash FROM users") == weak
    assert login(auth_client, "ada").status_code == 200
    renewed = sql.value("SELECT password_hash FROM users")
    assert "m=64," in renewed
    assert login(auth_client, "ada").status_code == 200
    assert sql.value("SELECT password_hash FROM users") == renewed
