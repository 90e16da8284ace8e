"""Passwords: rules, hashing, changes."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from passlib.hash import argon2

from app import auth_main
from app.config import Settings
from app.core.exceptions import DatabaseBusyError
from app.database.connection import DatabaseConnection, DatabaseSession
from app.database.repositories.accounts import attempt_counters
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, PASSWORD, User, assert_problem, login, register
from tests.support.waiting import wait_until

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


def from_network(client: TestClient, ip: str) -> TestClient:
    """Return the client, whose requests come from an address from now on."""
    client._transport.client = (ip, 50000)  # type: ignore[attr-defined]
    return client


HOME, THIEF, CAFE = "192.0.2.1", "198.51.100.1", "203.0.113.1"


@pytest.fixture
def own_client(settings: Settings, sql: Sql, cheap_passwords: None) -> Iterator[TestClient]:
    """Client of a service of its own, because its network changes."""
    with TestClient(auth_main.create(settings)) as client:
        yield from_network(client, HOME)


def log_in(client: TestClient) -> User:
    tokens = login(client, "ada").json()
    return User("", "ada@example.com", "ada", tokens["access_token"], tokens["refresh_token"])


@pytest.mark.parametrize("owners_network", [HOME, CAFE])
def test_attempts_with_a_stolen_token_do_not_use_up_those_of_the_owner(
    own_client: TestClient, owners_network: str
) -> None:
    register(own_client, "ada")
    owner = log_in(own_client)
    from_network(own_client, THIEF)
    assert [change(own_client, owner, "guess", OTHER).status_code for _ in range(40)] == [400] * 10 + [429] * 30
    assert change(own_client, owner, PASSWORD, OTHER).status_code == 429
    assert change(from_network(own_client, owners_network), owner, PASSWORD, OTHER).status_code == 200


def test_the_owner_can_log_in_again_in_the_network_of_the_thief(own_client: TestClient) -> None:
    register(own_client, "ada")
    stolen = log_in(own_client)
    for _ in range(15):
        change(own_client, stolen, "guess", OTHER)
    assert change(own_client, stolen, PASSWORD, OTHER).status_code == 429
    assert change(own_client, log_in(own_client), PASSWORD, OTHER).status_code == 200


def test_attempts_with_a_stolen_token_are_limited_in_all_networks_together(own_client: TestClient) -> None:
    register(own_client, "ada")
    stolen = log_in(own_client)
    statuses = [
        change(from_network(own_client, f"198.51.100.{number // 5 + 1}"), stolen, "guess", OTHER).status_code
        for number in range(60)
    ]
    assert statuses == [400] * 30 + [429] * 30


def test_correct_password_whose_refund_fails_is_not_counted(
    auth_client: TestClient, ada: User, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    refund, failures = attempt_counters.refund, [DatabaseBusyError()]

    async def fail_once(connection: DatabaseConnection | DatabaseSession, keys: Sequence[str]) -> None:
        if failures:
            raise failures.pop()
        await refund(connection, keys)

    monkeypatch.setattr(attempt_counters, "refund", fail_once)
    assert_problem(change(auth_client, ada, PASSWORD, OTHER), 503, "overloaded")
    counted = "SELECT sum(attempts) FROM login_throttles WHERE key LIKE 'confirmation:%%'"
    wait_until(lambda: sql.value(counted) == 0)


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
