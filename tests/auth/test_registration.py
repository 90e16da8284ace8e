"""Registration where addresses must be verified: the answer tells nobody what is taken."""

import time
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


@pytest.fixture(scope="module")
def mail_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mail")


@pytest.fixture(scope="module")
def strict_service(settings: Settings, mail_directory: Path, cheap_passwords: None) -> Iterator[TestClient]:
    strict = settings.model_copy(
        update={"EMAIL_VERIFICATION_REQUIRED": True, "MAIL_URL": f"file://{mail_directory}", "PUBLIC_URL": "https://x"}
    )
    with TestClient(auth_main.create(strict)) as client:
        yield client


@pytest.fixture
def strict(strict_service: TestClient, sql: Sql, mail_directory: Path) -> TestClient:
    for mail in mail_directory.iterdir():
        mail.unlink()
    return strict_service


def wait_for_mails(directory: Path, sql: Sql, count: int) -> list[EmailMessage]:
    deadline = time.monotonic() + 10
    while sql.value("SELECT count(*) FROM outgoing_mails") or len(list(directory.glob("*.eml"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(directory.glob("*.eml"))]
    assert len(mails) == count
    return mails


def test_every_registration_gets_the_same_answer_and_the_owner_of_the_address_gets_a_mail(
    strict: TestClient, sql: Sql, mail_directory: Path
) -> None:
    answers = [
        register(strict, "ada"),
        register(strict, "ada"),
        register(strict, "other", email="ADA@example.com"),
        register(strict, "ADA", email="bob@example.com"),
    ]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    mails = wait_for_mails(mail_directory, sql, 4)
    assert sorted((str(mail["To"]), str(mail["Subject"]).partition(": ")[2]) for mail in mails) == [
        ("ada@example.com", "Verify your email address"),
        ("ada@example.com", "You already have an account"),
        ("ada@example.com", "You already have an account"),
        ("bob@example.com", "Your registration is not complete"),
    ]
    assert sql.value("SELECT count(*) FROM users") == 1


def test_the_password_of_an_unverified_account_is_wrong_for_everybody(strict: TestClient, sql: Sql) -> None:
    register(strict, "ada")
    problems = [assert_problem(login(strict, name), 401, "invalid_credentials") for name in ("ada", "nobody")]
    for problem in problems:
        del problem["request_id"]
    assert problems[0] == problems[1]
    sql.do("UPDATE users SET is_verified = true")
    assert login(strict, "ada").status_code == 200


def test_where_addresses_need_not_be_verified_a_registration_is_told_what_is_taken(
    settings: Settings, sql: Sql, mail_directory: Path, cheap_passwords: None, strict: TestClient
) -> None:
    lenient = settings.model_copy(update={"MAIL_URL": f"file://{mail_directory}"})
    with TestClient(auth_main.create(lenient)) as client:
        assert register(client, "ada").status_code == 201
        assert_problem(register(client, "ada"), 400, "already_registered")
        assert login(client, "ada").status_code == 200
        (mail,) = wait_for_mails(mail_directory, sql, 1)
    assert mail["To"] == "ada@example.com"
    assert "Verify" in mail["Subject"]


def test_a_changed_password_is_told_to_the_owner(strict: TestClient, sql: Sql, mail_directory: Path) -> None:
    register(strict, "ada")
    wait_for_mails(mail_directory, sql, 1)  # which verified owners would not get any more
    sql.do("UPDATE users SET is_verified = true")
    tokens = login(strict, "ada").json()
    response = strict.put(
        f"{AUTH}/password",
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
        json={"current_password": "correct horse battery staple", "new_password": "another horse, another staple"},
    )
    assert response.status_code == 200
    subjects = [str(mail["Subject"]) for mail in wait_for_mails(mail_directory, sql, 2)]
    assert any("Your password was changed" in subject for subject in subjects)


def test_one_network_does_not_have_mail_sent_to_everybody(
    strict: TestClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strict._transport, "client", ("198.51.100.1", 50000))
    statuses = [register(strict, f"user{number}").status_code for number in range(32)]
    assert statuses == [202] * 30 + [429] * 2
    assert sql.value("SELECT count(*) FROM users") == 30
