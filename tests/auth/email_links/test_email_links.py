"""Password reset and email verification by links in emails."""

import logging
from collections.abc import AsyncIterator
from typing import Literal

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from app import auth_main
from app.auth.email.outbox import MAX_EMAILS_PER_RECIPIENT, EmailOutbox
from app.auth.email_links import EmailLinkService
from app.auth.hashing_queue import HashingQueue
from app.config import Settings
from app.core.password_hashing import PasswordHasher
from app.database.connection import Database
from app.database.repositories.audit.audit_log import RequestOrigin
from tests.auth.email_links.link_requests import (
    ADDRESS,
    NEW_PASSWORD,
    RequestEmail,
    entries,
    request_reset_email,
    request_verification_email,
    reset_password,
    reset_token,
    verify_email,
)
from tests.fixtures.database import Sql
from tests.fixtures.mail import PUBLIC_URL, Mailbox, token_of
from tests.fixtures.services import AUTH, User, assert_problem, login


def test_password_is_reset_by_emailed_link(auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User) -> None:
    assert request_reset_email(auth_client).status_code == 202
    (mail,) = mailbox.mails()
    assert mail["To"] == ADDRESS
    token = token_of(mail)
    assert f"{PUBLIC_URL}/reset-password#token={token}" in mail.get_content()
    assert reset_password(auth_client, token).status_code == 200

    assert_problem(login(auth_client, "ada"), 401, "invalid_credentials")
    assert login(auth_client, "ada", NEW_PASSWORD).status_code == 200
    assert_problem(auth_client.get(f"{AUTH}/me", headers=ada.headers), 401, "unauthorized")
    used = auth_client.post(f"{AUTH}/refresh", json={"refresh_token": ada.refresh_token})
    assert_problem(used, 401)
    assert sql.rows("SELECT revoked_reason FROM auth_sessions ORDER BY id") == [
        {"revoked_reason": "password_reset"},
        {"revoked_reason": None},
    ]
    assert sql.value("SELECT is_verified FROM users") is True
    assert sql.value("SELECT count(*) FROM one_time_tokens") == 0
    (entry,) = entries(sql, "password.reset")
    assert (str(entry["target_id"]), entry["actor_id"], entry["outcome"]) == (ada.id, None, "done")
    assert entry["details"] == {"logins_ended": 1, "keys_removed": 0}
    assert entry["ip"] == "203.0.113.7"
    notice = mailbox.mails()[-1]
    assert (notice["To"], "password was changed" in notice["Subject"]) == (ADDRESS, True)


def test_address_is_verified_by_emailed_link(auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User) -> None:
    assert request_verification_email(auth_client).status_code == 202
    (mail,) = mailbox.mails()
    token = token_of(mail)
    assert f"{PUBLIC_URL}/verify-email#token={token}" in mail.get_content()
    assert verify_email(auth_client, token).status_code == 200
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).json()["is_verified"] is True
    (entry,) = entries(sql, "email.verified")
    assert str(entry["target_id"]) == ada.id
    assert_problem(verify_email(auth_client, token), 400, "invalid_token")


@pytest.mark.parametrize("ask", [request_reset_email, request_verification_email])
def test_response_does_not_reveal_whether_account_exists(
    auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User, bob: User, ask: RequestEmail
) -> None:
    sql.do("UPDATE users SET is_active = false WHERE username = 'bob'")
    responses = [ask(auth_client, address) for address in (ADDRESS, "bob@example.com", "nobody@example.com")]
    assert {response.status_code for response in responses} == {202}
    assert len({response.text for response in responses}) == 1
    assert len({tuple(sorted(response.headers.keys())) for response in responses}) == 1
    assert [mail["To"] for mail in mailbox.mails()] == [ADDRESS]


@pytest.fixture
async def service_database(settings: Settings) -> AsyncIterator[Database]:
    database = Database.from_settings(settings, application_name="test")
    yield database
    await database.close()


@pytest.mark.parametrize("kind", ["verify_email", "reset_password"])
async def test_same_statements_run_whether_or_not_account_exists(
    auth_client: TestClient,
    ada: User,
    service_database: Database,
    settings: Settings,
    kind: Literal["verify_email", "reset_password"],
) -> None:
    statements: list[str] = []

    def record_statement(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(service_database.engine.sync_engine, "before_cursor_execute", record_statement)
    hashing = HashingQueue.open(settings, PasswordHasher(1))
    service = EmailLinkService(database=service_database, hashing=hashing, outbox=EmailOutbox(is_enabled=True))
    statements_of_each = []
    # Only emails to the account are counted: the last of them is over the limit.
    for address in (*[ADDRESS] * (MAX_EMAILS_PER_RECIPIENT + 1), "nobody@example.com"):
        await service.request_email(kind, address, RequestOrigin("203.0.113.9", None, None))
        statements_of_each.append(list(statements))
        statements.clear()
    assert all(each == statements_of_each[-1] for each in statements_of_each)
    assert len(statements_of_each[-1]) == len(["count the network", "count the address and enqueue"])


def test_host_headers_do_not_change_link(auth_client: TestClient, mailbox: Mailbox, ada: User) -> None:
    headers = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "host=evil.example",
        "X-Forwarded-Proto": "http",
        "Origin": "https://evil.example",
        "Referer": "https://evil.example/",
    }
    assert request_reset_email(auth_client, headers=headers).status_code == 202
    (mail,) = mailbox.mails()
    assert "evil" not in mail.as_string()
    assert f"\n{PUBLIC_URL}/reset-password#token=" in mail.get_content()


def test_counters_and_logs_contain_neither_addresses_nor_tokens(
    auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = reset_token(auth_client, mailbox)
    reset_password(auth_client, token)
    mailbox.wait_until_sent()
    assert "email sent" in caplog.text
    for text in (caplog.text, str(sql.rows("SELECT * FROM login_throttles")), str(sql.rows("SELECT * FROM audit_log"))):
        assert ADDRESS not in text
        assert token not in text


@pytest.mark.parametrize("ask", [request_reset_email, request_verification_email])
@pytest.mark.parametrize("address", ["ada", "ada@example.com\r\nBcc: eve@example.com", "a" * 250 + "@b.com", ""])
def test_malformed_address_is_refused(auth_client: TestClient, ask: RequestEmail, address: str) -> None:
    assert_problem(ask(auth_client, address), 422, "validation_error")


@pytest.mark.parametrize("ask", [request_reset_email, request_verification_email])
def test_link_requests_are_refused_when_email_is_disabled(
    settings: Settings, sql: Sql, auth_client: TestClient, ada: User, ask: RequestEmail
) -> None:
    with TestClient(auth_main.create(settings)) as client:
        problems = [assert_problem(ask(client, one), 503, "mail_disabled") for one in (ADDRESS, "nobody@example.com")]
    for problem in problems:
        del problem["request_id"]
    assert problems[0] == problems[1]
    assert sql.value("SELECT count(*) FROM outgoing_mails") == 0
