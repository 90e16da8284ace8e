"""Registration, login and access to the account."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from jose import jwt

from app.config import Settings
from app.core.security import hash_token
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, DEFAULT_PREFERENCES, PASSWORD, User, assert_problem, login, register


def test_registration_creates_active_account_of_role_user(auth_client: TestClient, sql: Sql) -> None:
    response = register(auth_client, "ada", full_name="Ada Lovelace")
    assert response.status_code == 201
    account = response.json()
    assert account.pop("id") == str(sql.value("SELECT uuid FROM users"))
    assert datetime.fromisoformat(account.pop("created_at")).utcoffset() is not None
    assert account == {
        "email": "ada@example.com",
        "username": "ada",
        "full_name": "Ada Lovelace",
        "role": "user",
        "is_active": True,
        "is_verified": False,
        "last_login": None,
        "preferences": DEFAULT_PREFERENCES,
    }


def test_password_is_stored_hashed_and_never_returned(auth_client: TestClient, sql: Sql) -> None:
    response = register(auth_client, "ada")
    assert PASSWORD not in response.text
    stored = sql.value("SELECT password_hash FROM users")
    assert stored.startswith("$argon2id$")
    assert stored not in response.text


@pytest.mark.parametrize("field", ["role", "is_active", "is_verified", "id", "password_hash", "preferences"])
def test_registration_cannot_set_role_or_state(auth_client: TestClient, sql: Sql, field: str) -> None:
    problem = assert_problem(register(auth_client, "ada", **{field: "admin"}), 422, "validation_error")
    assert problem["errors"][0]["field"] == f"body.{field}"
    assert sql.value("SELECT count(*) FROM users") == 0


@pytest.mark.parametrize(
    ("fields", "taken"),
    [
        pytest.param({"email": "ada@example.com"}, "email", id="address"),
        pytest.param({"email": "ADA@EXAMPLE.COM"}, "email", id="address in another case"),
        pytest.param({"username": "ada"}, "username", id="name"),
        pytest.param({"username": "ADA"}, "username", id="name in another case"),
    ],
)
def test_addresses_and_usernames_are_unique_ignoring_case(
    auth_client: TestClient, ada: User, fields: dict[str, str], taken: str
) -> None:
    body = {"email": "other@example.com", "username": "other", "password": PASSWORD} | fields
    problem = assert_problem(auth_client.post(f"{AUTH}/register", json=body), 400, "already_registered")
    assert problem["errors"][0]["field"] == f"body.{taken}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "ada"),
        ("email", "ada@"),
        ("email", "a" * 250 + "@example.com"),
        ("email", None),
        ("username", "ab"),
        ("username", "x" * 51),
        ("username", "ada@example.com"),
        ("username", "a b c"),
        ("username", "a\nda"),
        ("password", "7 chars"),
        ("password", "x" * 257),
        ("password", "with \x00 nul in it"),
        ("password", 12345678),
        ("full_name", "x" * 201),
        ("full_name", "nul \x00"),
        ("email", "ada@example.com\x00"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_invalid_fields_are_refused(auth_client: TestClient, field: str, value: object) -> None:
    problem = assert_problem(register(auth_client, "ada", **{field: value}), 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == [f"body.{field}"]


@pytest.mark.parametrize("name", ["ada", "ADA", "ada@example.com", "Ada@Example.com"])
def test_login_accepts_username_or_address_in_any_case(auth_client: TestClient, ada: User, name: str) -> None:
    response = login(auth_client, name)
    assert response.status_code == 200
    tokens = response.json()
    assert tokens["token_type"] == "bearer"
    assert tokens["expires_in"] == 1800
    assert response.headers["Cache-Control"] == "no-store"


def test_login_stores_session_with_hashed_refresh_token(auth_client: TestClient, sql: Sql, ada: User) -> None:
    (session,) = sql.rows("SELECT * FROM auth_sessions")
    assert bytes(session["token_hash"]) == hash_token(ada.refresh_token)
    assert session["user_agent"] == "testclient"
    assert (session["expires_at"] - session["created_at"]).days == 7
    assert jwt.get_unverified_claims(ada.access_token)["sid"] == str(session["uuid"])
    assert abs((sql.value("SELECT last_login FROM users") - datetime.now(UTC)).total_seconds()) < 60


def test_wrong_password_and_unknown_user_get_same_response(auth_client: TestClient, ada: User) -> None:
    answers = [login(auth_client, "ada", "wrong password"), login(auth_client, "nobody", "wrong password")]
    problems = [assert_problem(answer, 401, "invalid_credentials") for answer in answers]
    assert [answer.headers["WWW-Authenticate"] for answer in answers] == ["Bearer", "Bearer"]
    for problem in problems:
        del problem["request_id"]
    assert problems[0] == problems[1]


def test_disabled_account_cannot_log_in(auth_client: TestClient, sql: Sql, ada: User) -> None:
    sql.do("UPDATE users SET is_active = false")
    assert_problem(login(auth_client, "ada"), 401, "invalid_credentials")


@pytest.mark.parametrize("name", ["%", "_da", "ad%", "a_a@example.com", "' OR 1=1 --"])
def test_login_name_is_matched_literally(auth_client: TestClient, ada: User, name: str) -> None:
    assert_problem(login(auth_client, name), 401, "invalid_credentials")


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"username": "ada"}, id="no password"),
        pytest.param({"username": "ada", "password": ""}, id="empty password"),
        pytest.param({"username": "ada", "password": "x" * 300}, id="long password"),
        pytest.param({"username": "a\x00", "password": PASSWORD}, id="nul in the name"),
        pytest.param({"username": "a" * 300, "password": PASSWORD}, id="long name"),
        pytest.param({"username": "ada", "password": PASSWORD, "grant_type": "implicit"}, id="other grant"),
    ],
)
def test_invalid_login_form_is_refused(auth_client: TestClient, ada: User, form: dict[str, str]) -> None:
    assert_problem(auth_client.post(f"{AUTH}/login", data=form), 422, "validation_error")


def test_me_returns_account_of_token(auth_client: TestClient, ada: User, bob: User) -> None:
    response = auth_client.get(f"{AUTH}/me", headers=bob.headers)
    assert response.status_code == 200
    assert (response.json()["id"], response.json()["username"]) == (bob.id, "bob")


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Bearer"}, id="no token"),
        pytest.param({"Authorization": "Bearer x.y.z"}, id="garbage"),
        pytest.param({"Authorization": "Basic YWRhOmFkYQ=="}, id="other scheme"),
        pytest.param({"Authorization": "Bearer " + "x" * 5000}, id="long"),
        pytest.param({"Authorization": b"Bearer \xff\xfe"}, id="not ascii"),
    ],
)
def test_me_requires_valid_token(auth_client: TestClient, headers: dict[str, str]) -> None:
    response = auth_client.get(f"{AUTH}/me", headers=headers)
    assert_problem(response, 401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def test_refresh_token_is_refused_as_access_token(auth_client: TestClient, ada: User) -> None:
    response = auth_client.get(f"{AUTH}/me", headers={"Authorization": f"Bearer {ada.refresh_token}"})
    assert_problem(response, 401, "unauthorized")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("UPDATE users SET is_active = false", id="account disabled"),
        pytest.param("UPDATE auth_sessions SET revoked_at = now(), revoked_reason = 'test'", id="login revoked"),
        pytest.param("UPDATE auth_sessions SET expires_at = now()", id="login expired"),
        pytest.param("DELETE FROM users", id="account erased"),
    ],
)
def test_invalidated_token_is_refused_on_every_service(
    auth_client: TestClient, chat_client: TestClient, admin_client: TestClient, sql: Sql, admin: User, change: str
) -> None:
    requests = [(auth_client, "/api/v1/auth/me"), (chat_client, "/api/v1/chat/sessions")]
    requests.append((admin_client, "/api/v1/admin/overview"))
    assert [client.get(path, headers=admin.headers).status_code for client, path in requests] == [200, 200, 200]
    sql.do(change)
    for client, path in requests:
        assert_problem(client.get(path, headers=admin.headers), 401, "unauthorized")


def test_token_with_login_of_another_account_is_refused(
    auth_client: TestClient, settings: Settings, ada: User, bob: User
) -> None:
    claims = jwt.get_unverified_claims(ada.access_token) | {"sub": bob.id}
    forged = jwt.encode(claims, settings.SECRET_KEY.get_secret_value(), algorithm="HS256")
    assert_problem(auth_client.get(f"{AUTH}/me", headers={"Authorization": f"Bearer {forged}"}), 401, "unauthorized")


def test_one_of_concurrent_registrations_succeeds(auth_client: TestClient, sql: Sql) -> None:
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(
            response.status_code for response in pool.map(lambda _: register(auth_client, "ada"), range(8))
        )
    assert statuses == [201] + [400] * 7
    assert sql.value("SELECT count(*) FROM users") == 1
