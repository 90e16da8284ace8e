"""Registration with mandatory verification, which does not reveal registered addresses."""

from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import auth_main
from app.config import Settings
from tests.fixtures.database import Sql
from tests.fixtures.services import AUTH, assert_problem, login, register
from tests.support.waiting import wait_until

VERIFY = "UPDATE users SET is_verified = true, username = requested_username, requested_username = NULL"


@pytest.fixture(scope="module")
def mail_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mail")


@pytest.fixture(scope="module")
def verification_service(settings: Settings, mail_directory: Path, cheap_passwords: None) -> Iterator[TestClient]:
    required = settings.model_copy(
        update={"EMAIL_VERIFICATION_REQUIRED": True, "MAIL_URL": f"file://{mail_directory}", "PUBLIC_URL": "https://x"}
    )
    with TestClient(auth_main.create(required)) as client:
        yield client


@pytest.fixture
def verification_client(verification_service: TestClient, sql: Sql, mail_directory: Path) -> TestClient:
    for mail in mail_directory.iterdir():
        mail.unlink()
    return verification_service


def wait_for_mails(directory: Path, sql: Sql, count: int) -> list[EmailMessage]:
    wait_until(lambda: sql.value("SELECT count(*) FROM outgoing_mails") == 0)
    mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(directory.glob("*.eml"))]
    assert len(mails) == count
    return mails


def test_every_registration_gets_same_response_and_owner_gets_email(
    verification_client: TestClient, sql: Sql, mail_directory: Path
) -> None:
    answers = [
        register(verification_client, "ada"),
        register(verification_client, "ada"),
        register(verification_client, "other", email="ADA@example.com"),
        register(verification_client, "ADA", email="bob@example.com"),
    ]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    mails = wait_for_mails(mail_directory, sql, 4)
    assert sorted((str(mail["To"]), str(mail["Subject"]).partition(": ")[2]) for mail in mails) == [
        ("ada@example.com", "Verify your email address"),
        ("ada@example.com", "You already have an account"),
        ("ada@example.com", "You already have an account"),
        ("bob@example.com", "Verify your email address"),
    ]
    assert sql.value("SELECT count(*) FROM users") == 2


def test_unverified_account_gets_same_response_as_unknown_one(verification_client: TestClient, sql: Sql) -> None:
    register(verification_client, "ada")
    problems = [
        assert_problem(login(verification_client, name), 401, "invalid_credentials") for name in ("ada", "nobody")
    ]
    for problem in problems:
        del problem["request_id"]
    assert problems[0] == problems[1]
    sql.do(VERIFY)
    assert login(verification_client, "ada").status_code == 200


def test_optional_verification_reports_taken_address(
    settings: Settings, sql: Sql, mail_directory: Path, cheap_passwords: None, verification_client: TestClient
) -> None:
    changed_settings = settings.model_copy(update={"MAIL_URL": f"file://{mail_directory}"})
    with TestClient(auth_main.create(changed_settings)) as client:
        assert register(client, "ada").status_code == 201
        assert_problem(register(client, "ada"), 400, "already_registered")
        assert login(client, "ada").status_code == 200
        (mail,) = wait_for_mails(mail_directory, sql, 1)
    assert mail["To"] == "ada@example.com"
    assert "Verify" in mail["Subject"]


def test_password_change_notifies_owner(verification_client: TestClient, sql: Sql, mail_directory: Path) -> None:
    register(verification_client, "ada")
    wait_for_mails(mail_directory, sql, 1)  # which verified owners do not get
    sql.do(VERIFY)
    tokens = login(verification_client, "ada").json()
    response = verification_client.put(
        f"{AUTH}/password",
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
        json={"current_password": "correct horse battery staple", "new_password": "another horse, another staple"},
    )
    assert response.status_code == 200
    subjects = [str(mail["Subject"]) for mail in wait_for_mails(mail_directory, sql, 2)]
    assert any("Your password was changed" in subject for subject in subjects)


def test_registration_emails_per_network_are_limited(
    verification_client: TestClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification_client._transport, "client", ("198.51.100.1", 50000))
    statuses = [register(verification_client, f"user{number}").status_code for number in range(32)]
    assert statuses == [202] * 30 + [429] * 2
    assert sql.value("SELECT count(*) FROM users") == 30


def verify(verification_client: TestClient, mail: EmailMessage) -> str:
    link = next(word for word in mail.get_content().split() if "#token=" in word)
    response = verification_client.post(f"{AUTH}/email/verify", json={"token": link.partition("#token=")[2]})
    assert response.status_code == 200, response.text
    return str(response.json()["message"])


def test_account_gets_username_when_address_is_verified(
    verification_client: TestClient, sql: Sql, mail_directory: Path
) -> None:
    register(verification_client, "ada")
    (mail,) = wait_for_mails(mail_directory, sql, 1)
    assert sql.value("SELECT username FROM users").startswith("user-")
    assert verify(verification_client, mail) == "Address verified."
    assert sql.rows("SELECT username, requested_username FROM users") == [
        {"username": "ada", "requested_username": None}
    ]
    assert login(verification_client, "ada").status_code == 200


def test_first_verified_account_gets_contested_username(
    verification_client: TestClient, sql: Sql, mail_directory: Path
) -> None:
    register(verification_client, "ada", email="one@example.com")
    register(verification_client, "ADA", email="two@example.com")
    mails = {str(mail["To"]): mail for mail in wait_for_mails(mail_directory, sql, 2)}
    assert verify(verification_client, mails["two@example.com"]) == "Address verified."
    assert "user name is taken" in verify(verification_client, mails["one@example.com"])
    assert sql.value("SELECT username FROM users WHERE email = 'two@example.com'") == "ADA"
    assert sql.value("SELECT username FROM users WHERE email = 'one@example.com'").startswith("user-")
    for name in ("ADA", "one@example.com"):
        assert login(verification_client, name).status_code == 200


@pytest.mark.parametrize("address", ["free@example.com", "ada@example.com"], ids=["free", "taken"])
def test_username_does_not_reveal_result_of_registration(
    verification_client: TestClient, sql: Sql, address: str
) -> None:
    for name in ("ada", "eve"):
        register(verification_client, name)
    sql.do(VERIFY)
    register(verification_client, "probe", email=address)
    tokens = login(verification_client, "eve").json()
    probe = verification_client.put(
        f"{AUTH}/profile",
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
        json={"username": "probe"},
    )
    assert probe.status_code == 200
