"""Preferences of the web application."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.fixtures.database import Sql, counted_statements
from tests.fixtures.services import AUTH, DEFAULT_PREFERENCES, User, assert_problem


def update(client: TestClient, user: User, body: object) -> Response:
    return client.put(f"{AUTH}/preferences", json=body, headers=user.headers)


def stored(client: TestClient, user: User) -> Any:  # noqa: ANN401 - JSON
    return client.get(f"{AUTH}/me", headers=user.headers).json()["preferences"]


def test_defaults_are_returned_until_they_are_changed(auth_client: TestClient, ada: User, sql: Sql) -> None:
    assert stored(auth_client, ada) == DEFAULT_PREFERENCES
    assert sql.value("SELECT preferences FROM users") == {}


def test_update_changes_given_fields_only(auth_client: TestClient, ada: User) -> None:
    changed = DEFAULT_PREFERENCES | {"theme": "dark", "language": "pt-BR"}
    response = update(auth_client, ada, {"theme": "dark", "language": "pt-BR"})
    assert (response.status_code, response.json()) == (200, changed)
    changed |= {"language": None, "send_on_enter": False, "density": "compact", "show_details": True}
    body = {"language": None, "send_on_enter": False, "density": "compact", "show_details": True}
    assert update(auth_client, ada, body).json() == changed
    assert stored(auth_client, ada) == changed


def test_update_is_one_statement(auth_client: TestClient, ada: User) -> None:
    with counted_statements() as statements:
        assert update(auth_client, ada, {"theme": "dark"}).status_code == 200
    assert [statement.split()[0] for statement in statements] == ["SELECT", "UPDATE"]  # authentication and update


def test_concurrent_updates_of_different_fields_are_all_stored(auth_client: TestClient, ada: User) -> None:
    changes = {"theme": "light", "density": "compact", "show_details": True, "send_on_enter": False}
    bodies = [{name: value} for name, value in changes.items()] * 3
    with ThreadPoolExecutor(8) as pool:
        assert {one.status_code for one in pool.map(lambda body: update(auth_client, ada, body), bodies)} == {200}
    assert stored(auth_client, ada) == DEFAULT_PREFERENCES | changes


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"font": "large"},
        {"theme": "purple"},
        {"theme": None},
        {"density": 1},
        {"language": "german please"},
        {"language": "de\n"},
        {"language": "x" * 36},
        {"send_on_enter": "yes"},
        {"show_details": 1},
    ],
)
def test_invalid_update_is_refused(auth_client: TestClient, ada: User, body: object) -> None:
    assert_problem(update(auth_client, ada, body), 422, "validation_error")
    assert stored(auth_client, ada) == DEFAULT_PREFERENCES


def test_fields_of_other_clients_are_kept(auth_client: TestClient, ada: User) -> None:
    profile = {"preferences": {"editor": {"keys": "vi"}, "theme": "light"}}
    assert auth_client.put(f"{AUTH}/profile", json=profile, headers=ada.headers).status_code == 200
    expected = DEFAULT_PREFERENCES | {"editor": {"keys": "vi"}, "theme": "light", "show_details": True}
    assert update(auth_client, ada, {"show_details": True}).json() == expected


def test_invalid_fields_of_earlier_releases_count_as_not_set(auth_client: TestClient, ada: User, sql: Sql) -> None:
    sql.do("""UPDATE users SET preferences = '{"theme": "purple", "send_on_enter": "no", "language": [1], "n": 1}'""")
    assert stored(auth_client, ada) == DEFAULT_PREFERENCES | {"n": 1}
    assert update(auth_client, ada, {"theme": "dark"}).json() == DEFAULT_PREFERENCES | {"n": 1, "theme": "dark"}
