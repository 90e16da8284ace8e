"""Spellings of addresses and user names: what is the same account, and what is refused."""

from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient

from app import auth_main
from app.config import Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, PASSWORD, User, assert_problem, login, register

TAKEN = [
    ("ada@example.com", "ADA@Example.com"),
    ("ada@example.com", "ａｄａ＠example.com"),
    ("jos\u00e9@example.com", "JOSE\u0301@example.com"),
    ("info@bücher.example", "Info@xn--bcher-kva.EXAMPLE"),
    ("ανδρεας@example.gr", "ΑΝΔΡΕΑΣ@example.gr"),
]


@pytest.mark.parametrize(("first", "second"), [*TAKEN, *(pair[::-1] for pair in TAKEN)])
def test_spellings_of_an_address_are_one_account(auth_client: TestClient, sql: Sql, first: str, second: str) -> None:
    assert register(auth_client, "first", email=first).status_code == 201
    problem = assert_problem(register(auth_client, "second", email=second), 400, "already_registered")
    assert problem["errors"][0]["field"] == "body.email"
    for address in (first, second, f" {second}\n", f"\u202a{first}\u202c"):
        assert login(auth_client, address).status_code == 200


@pytest.mark.parametrize("address", ["n\u0130na@example.com", "n\u0131na@example.com", "N\u0130NA@example.com"])
def test_an_address_with_ambiguous_letters_is_refused(auth_client: TestClient, sql: Sql, address: str) -> None:
    problem = assert_problem(register(auth_client, "squatter", email=address), 422, "validation_error")
    assert problem["errors"][0]["field"] == "body.email"
    assert register(auth_client, "nina", email="nina@example.com").status_code == 201
    assert_problem(login(auth_client, address), 401, "invalid_credentials")


@pytest.mark.parametrize(
    ("squatter", "owner"), [("stra\u00dfe", "strasse"), ("ni\u0307na", "nina"), ("ni\u00f1a", "nina")]
)
def test_an_address_does_not_squat_a_similar_one(auth_client: TestClient, sql: Sql, squatter: str, owner: str) -> None:
    assert register(auth_client, "squatter", email=f"{squatter}@example.com").status_code == 201
    registered = register(auth_client, "owner", email=f"{owner}@example.com", password="of the owner, and long")
    assert registered.status_code == 201
    assert login(auth_client, f"{owner}@example.com").status_code == 401
    assert login(auth_client, f"{owner.upper()}@example.com", "of the owner, and long").status_code == 200
    assert login(auth_client, f"{squatter}@example.com").status_code == 200


@pytest.mark.parametrize(
    "name", ["ada", "ADA", " ada ", "\tAda\n", "\u00a0ada\u200b", "ＡＤＡ", "ada@example.com ", "\ufeffADA@EXAMPLE.COM"]
)
def test_spellings_of_a_login_find_the_account(auth_client: TestClient, ada: User, name: str) -> None:
    assert login(auth_client, name).status_code == 200


@pytest.mark.parametrize(
    "name", ["a da", "ada\u00a0x", "ada@", "@example.com", "\u0430da", "ada@example.com.", "\u200b"]
)
def test_other_texts_find_no_account(auth_client: TestClient, ada: User, name: str) -> None:
    assert login(auth_client, name).status_code in {401, 422}


@pytest.mark.parametrize("name", ["ada", "ADA", " ada\n"])
def test_spellings_of_a_user_name_are_one_account(auth_client: TestClient, ada: User, name: str) -> None:
    problem = assert_problem(register(auth_client, name, email="other@example.com"), 400, "already_registered")
    assert problem["errors"][0]["field"] == "body.username"
    assert register(auth_client, "bob", email=" BOB@example.com ").json()["email"] == "BOB@example.com"


def test_white_space_around_registered_texts_is_removed(auth_client: TestClient, sql: Sql) -> None:
    account = register(auth_client, " grace ", email="\u2003grace@example.com\n", full_name=" Grace ").json()
    assert (account["username"], account["email"], account["full_name"]) == ("grace", "grace@example.com", "Grace")


@pytest.mark.parametrize("full_name", ["", " ", "\u200b\u2060", "\u202e"])
def test_a_blank_full_name_is_refused(auth_client: TestClient, sql: Sql, full_name: str) -> None:
    assert_problem(register(auth_client, "grace", full_name=full_name), 422, "validation_error")


def test_renaming_keeps_names_unique(auth_client: TestClient, ada: User, make_user: Callable[[str], User]) -> None:
    bob = make_user("bob")
    renamed = auth_client.put(f"{AUTH}/profile", json={"username": "ADA"}, headers=bob.headers)
    assert_problem(renamed, 400, "already_registered")
    assert (
        auth_client.put(f"{AUTH}/profile", json={"username": " Bobby "}, headers=bob.headers).json()["username"]
        == "Bobby"
    )
    assert login(auth_client, "bobby").status_code == 200
    assert register(auth_client, "bob", email="new@example.com").status_code == 201


LOCAL = ["admin@localhost", "ada@mail.corp", "ada@printer.local", "ada@deep.printer.LOCAL"]


@pytest.fixture(scope="module")
def local_service(settings: Settings, cheap_passwords: None) -> Iterator[TestClient]:
    own = settings.model_copy(update={"EMAIL_LOCAL_DOMAINS": ["localhost", "mail.corp", ".local"]})
    with TestClient(auth_main.create(own)) as client:
        yield client


@pytest.mark.parametrize("address", LOCAL)
def test_addresses_at_own_domains_are_accepted(local_service: TestClient, sql: Sql, address: str) -> None:
    assert register(local_service, "ada", email=address).status_code == 201
    assert login(local_service, address.upper()).status_code == 200


@pytest.mark.parametrize(
    "address",
    ["ada@local", "ada@other", "ada@sub.localhost", "ada@x.test", "ada@127.0.0.1", "ada@xlocal", "ada@.local"],
)
def test_other_local_addresses_are_refused(local_service: TestClient, sql: Sql, address: str) -> None:
    problem = assert_problem(register(local_service, "ada", email=address), 422, "validation_error")
    assert [error["field"] for error in problem["errors"]] == ["body.email"]


@pytest.mark.parametrize("address", [*LOCAL[:1], *LOCAL[2:]])
@pytest.mark.parametrize("path", ["/register", "/password/forgot", "/email/verify/resend"])
def test_local_addresses_are_refused_by_default(auth_client: TestClient, sql: Sql, address: str, path: str) -> None:
    body = {"email": address} | ({"username": "ada", "password": PASSWORD} if path == "/register" else {})
    problem = assert_problem(auth_client.post(f"{AUTH}{path}", json=body), 422, "validation_error")
    assert problem["errors"] == [
        {"field": "body.email", "code": "value_error", "message": "must be at a domain of the internet"}
    ]
