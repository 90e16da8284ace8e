"""Profile updates."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, DEFAULT_PREFERENCES, User, assert_problem, login


def update_profile(client: TestClient, user: User, body: object) -> Response:
    return client.put(f"{AUTH}/profile", json=body, headers=user.headers)


def test_update_changes_given_fields_only(auth_client: TestClient, ada: User) -> None:
    before = auth_client.get(f"{AUTH}/me", headers=ada.headers).json()
    response = update_profile(
        auth_client, ada, {"full_name": " Ada Lovelace ", "preferences": {"theme": "dark", "n": [1, None]}}
    )
    assert response.status_code == 200
    preferences = DEFAULT_PREFERENCES | {"theme": "dark", "n": [1, None]}
    expected = before | {"full_name": "Ada Lovelace", "preferences": preferences}
    assert response.json() == expected
    assert update_profile(auth_client, ada, {"username": "countess"}).json() == expected | {"username": "countess"}
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).json() == expected | {"username": "countess"}
    assert login(auth_client, "countess").status_code == 200
    assert login(auth_client, "ada").status_code == 401


def test_null_clears_full_name_and_is_refused_for_other_fields(auth_client: TestClient, ada: User) -> None:
    update_profile(auth_client, ada, {"full_name": "Ada"})
    assert update_profile(auth_client, ada, {"full_name": None}).json()["full_name"] is None
    for field in ("username", "preferences"):
        problem = assert_problem(update_profile(auth_client, ada, {field: None}), 422, "validation_error")
        assert problem["errors"][0]["field"] == f"body.{field}"


def test_preferences_are_replaced_as_a_whole(auth_client: TestClient, ada: User) -> None:
    update_profile(auth_client, ada, {"preferences": {"a": 1, "b": 2}})
    replaced = update_profile(auth_client, ada, {"preferences": {"b": 3}}).json()["preferences"]
    assert replaced == DEFAULT_PREFERENCES | {"b": 3}
    assert update_profile(auth_client, ada, {"preferences": {}}).json()["preferences"] == DEFAULT_PREFERENCES


@pytest.mark.parametrize("name", ["bob", "BOB"])
def test_username_of_another_account_is_refused(
    auth_client: TestClient, ada: User, bob: User, sql: Sql, name: str
) -> None:
    problem = assert_problem(
        update_profile(auth_client, ada, {"username": name, "full_name": "x"}), 400, "already_registered"
    )
    assert problem["errors"][0]["field"] == "body.username"
    assert sql.value("SELECT full_name FROM users WHERE username = 'ada'") is None
    assert sql.value("SELECT count(*) FROM audit_log WHERE action = 'profile.updated'") == 0


def test_case_of_own_username_can_be_changed(auth_client: TestClient, ada: User) -> None:
    assert update_profile(auth_client, ada, {"username": "Ada"}).json()["username"] == "Ada"


def test_one_of_concurrent_updates_gets_the_username(auth_client: TestClient, ada: User, bob: User) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(
            pool.map(lambda user: update_profile(auth_client, user, {"username": "queen"}), [ada, bob] * 4)
        )
    assert {response.status_code for response in responses} == {200, 400}
    assert len({response.json()["id"] for response in responses if response.status_code == 200}) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param({"username": "a b"}, id="odd name"),
        pytest.param({"username": "ada@example.com"}, id="name like an address"),
        pytest.param({"full_name": ""}, id="empty name"),
        pytest.param({"full_name": "nul \x00"}, id="nul"),
        pytest.param({"full_name": "x" * 201}, id="long name"),
        pytest.param({"preferences": []}, id="preferences are a list"),
        pytest.param({"preferences": {"a": "x" * 9000}}, id="large preferences"),
        pytest.param({"preferences": {"a": "\x00"}}, id="nul in the preferences"),
        pytest.param({"preferences": {"theme": "purple"}}, id="unknown theme"),
    ],
)
def test_invalid_update_is_refused(auth_client: TestClient, ada: User, sql: Sql, body: object) -> None:
    assert_problem(update_profile(auth_client, ada, body), 422, "validation_error")
    assert sql.value("SELECT count(*) FROM audit_log WHERE action = 'profile.updated'") == 0


@pytest.mark.parametrize(
    "field", ["role", "is_active", "is_verified", "is_admin", "id", "uuid", "email", "created_at", "password_hash"]
)
def test_protected_fields_are_refused(auth_client: TestClient, ada: User, sql: Sql, field: str) -> None:
    before = sql.rows("SELECT * FROM users")
    problem = assert_problem(
        update_profile(auth_client, ada, {"full_name": "x", field: "admin"}), 422, "validation_error"
    )
    assert problem["errors"][0]["field"] == f"body.{field}"
    assert sql.rows("SELECT * FROM users") == before


def test_audit_log_contains_field_names_without_values(auth_client: TestClient, ada: User, sql: Sql) -> None:
    update_profile(
        auth_client, ada, {"full_name": "canary", "username": "canary2", "preferences": {"canary3": "canary4"}}
    )
    (entry,) = sql.rows("SELECT * FROM audit_log WHERE action = 'profile.updated'")
    assert (str(entry["actor_id"]), str(entry["target_id"]), entry["outcome"]) == (ada.id, ada.id, "done")
    assert entry["details"] == {"changed": ["full_name", "preferences", "username"]}
    assert "canary" not in sql.everything()["audit_log"]
