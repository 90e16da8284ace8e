"""List, search and detail of accounts."""

import pytest
from fastapi.testclient import TestClient

from tests.auth.users.user_requests import USERS, list_usernames, update_user
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, User, register


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
    assert list_usernames(auth_client, admin) == newest
    pages = [list_usernames(auth_client, admin, page=page, size=4) for page in (1, 2, 3)]
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
    assert list_usernames(auth_client, admin, search=search) == found


@pytest.mark.parametrize(
    "search",
    ["jose\u0301", "JOS\u00c9", "ｊｏｓ\u00e9", " jos\u00e9\n", "STRASSE", "straße", "ΟΔΥΣΣΕΥΣ", "οδυσσευσ", "BÜCHER"],
)
def test_search_finds_every_spelling(auth_client: TestClient, admin: User, search: str) -> None:
    register(auth_client, "jose", email="jos\u00e9@bücher.example", full_name="JOSE\u0301 Straße Οδυσσευς")
    assert list_usernames(auth_client, admin, search=search) == ["jose"]
    assert list_usernames(auth_client, admin, search=f"{search}x") == []


def test_search_finds_changed_names(auth_client: TestClient, admin: User, ada: User) -> None:
    update_user(auth_client, admin, ada.id, full_name="GROẞ")
    assert list_usernames(auth_client, admin, search="gross") == ["ada"]
    auth_client.put(f"{AUTH}/profile", json={"full_name": "Œuvre"}, headers=ada.headers)
    assert list_usernames(auth_client, admin, search="gross") == []
    assert list_usernames(auth_client, admin, search="œUVRE") == ["ada"]


def test_list_can_be_filtered_by_state_and_role(auth_client: TestClient, admin: User, ada: User, bob: User) -> None:
    update_user(auth_client, admin, bob.id, is_active=False)
    assert list_usernames(auth_client, admin, is_active=True) == ["ada", "root"]
    assert list_usernames(auth_client, admin, is_active=False) == ["bob"]
    assert list_usernames(auth_client, admin, role="admin") == ["root"]
    assert list_usernames(auth_client, admin, role="user", is_active=True, search="example.com") == ["ada"]
