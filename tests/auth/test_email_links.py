"""Password reset and email verification by links in emails."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import event

from app import auth_main
from app.auth.email.outbox import MAX_EMAILS_PER_NETWORK, MAX_EMAILS_PER_RECIPIENT, EmailOutbox
from app.auth.email_links import EmailLinkService
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.core.password_hashing import PasswordHasher
from app.database.connection import Database
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import RequestOrigin
from tests.fixtures.database import Sql
from tests.fixtures.mail import PUBLIC_URL, Mailbox, empty_mailbox, token_of
from tests.fixtures.services import AUTH, User, assert_problem, login

NEW_PASSWORD = "another battery, another staple"
ADDRESS = "ada@example.com"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mail")


@pytest.fixture(scope="module")
def auth_service(settings: Settings, cheap_passwords: None, directory: Path) -> Iterator[TestClient]:
    with_mail = settings.model_copy(update={"MAIL_URL": directory.as_uri(), "PUBLIC_URL": PUBLIC_URL})
    with TestClient(auth_main.create(with_mail), client=("203.0.113.7", 50_000)) as client:
        yield client


@pytest.fixture(autouse=True)
def mailbox(directory: Path, sql: Sql) -> Iterator[Mailbox]:
    yield from empty_mailbox(directory, sql)


@pytest.fixture
def newcomer(make_user: Callable[[str], User], mailbox: Mailbox, sql: Sql) -> Callable[[str], User]:
    """Registers a user and removes the verification email."""

    def make(username: str) -> User:
        user = make_user(username)
        mailbox.wait_until_sent()
        mailbox.clear()
        sql.do("DELETE FROM one_time_tokens; DELETE FROM login_throttles")
        return user

    return make


@pytest.fixture
def ada(newcomer: Callable[[str], User]) -> User:
    return newcomer("ada")


@pytest.fixture
def bob(newcomer: Callable[[str], User]) -> User:
    return newcomer("bob")


def forgot(client: TestClient, address: str = ADDRESS, **arguments: Any) -> Response:  # noqa: ANN401 - passed on
    return client.post(f"{AUTH}/password/forgot", json={"email": address}, **arguments)


def resend(client: TestClient, address: str = ADDRESS) -> Response:
    return client.post(f"{AUTH}/email/verify/resend", json={"email": address})


def reset(client: TestClient, token: object, password: str = NEW_PASSWORD) -> Response:
    return client.post(f"{AUTH}/password/reset", json={"token": token, "new_password": password})


def verify(client: TestClient, token: object) -> Response:
    return client.post(f"{AUTH}/email/verify", json={"token": token})


Ask = Callable[..., Response]
Use = Callable[..., Response]


def reset_token(client: TestClient, mailbox: Mailbox) -> str:
    assert forgot(client).status_code == 202
    return mailbox.last_token()


def entries(sql: Sql, action: str) -> list[dict[str, Any]]:
    return sql.rows("SELECT * FROM audit_log WHERE action = %s", [action])


def test_password_is_reset_by_emailed_link(auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User) -> None:
    assert forgot(auth_client).status_code == 202
    (mail,) = mailbox.mails()
    assert mail["To"] == ADDRESS
    token = token_of(mail)
    assert f"{PUBLIC_URL}/reset-password#token={token}" in mail.get_content()
    assert reset(auth_client, token).status_code == 200

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
    assert resend(auth_client).status_code == 202
    (mail,) = mailbox.mails()
    token = token_of(mail)
    assert f"{PUBLIC_URL}/verify-email#token={token}" in mail.get_content()
    assert verify(auth_client, token).status_code == 200
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).json()["is_verified"] is True
    (entry,) = entries(sql, "email.verified")
    assert str(entry["target_id"]) == ada.id
    assert_problem(verify(auth_client, token), 400, "invalid_token")


@pytest.mark.parametrize("ask", [forgot, resend])
def test_response_does_not_reveal_whether_account_exists(
    auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User, bob: User, ask: Ask
) -> None:
    sql.do("UPDATE users SET is_active = false WHERE username = 'bob'")
    answers = [ask(auth_client, address) for address in (ADDRESS, "bob@example.com", "nobody@example.com")]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers.keys())) for answer in answers}) == 1
    assert [mail["To"] for mail in mailbox.mails()] == [ADDRESS]


@pytest.fixture
async def own_database(settings: Settings) -> AsyncIterator[Database]:
    database = Database.from_settings(settings, application_name="test")
    yield database
    await database.close()


@pytest.mark.parametrize("kind", ["verify_email", "reset_password"])
async def test_same_statements_run_whether_or_not_account_exists(
    auth_client: TestClient, ada: User, own_database: Database, kind: Literal["verify_email", "reset_password"]
) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(own_database.engine.sync_engine, "before_cursor_execute", note)
    service = EmailLinkService(database=own_database, hasher=PasswordHasher(1), outbox=EmailOutbox(is_enabled=True))
    seen = []
    for address in (ADDRESS, "nobody@example.com"):
        await service.request_email(kind, address, RequestOrigin("203.0.113.9", None, None))
        seen.append(list(statements))
        statements.clear()
    assert seen[0] == seen[1]
    assert [statement.split()[2] for statement in seen[0]] == ["login_throttles", "login_throttles", "outgoing_mails"]


def test_host_headers_do_not_change_link(auth_client: TestClient, mailbox: Mailbox, ada: User) -> None:
    headers = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "host=evil.example",
        "X-Forwarded-Proto": "http",
        "Origin": "https://evil.example",
        "Referer": "https://evil.example/",
    }
    assert forgot(auth_client, headers=headers).status_code == 202
    (mail,) = mailbox.mails()
    assert "evil" not in mail.as_string()
    assert f"\n{PUBLIC_URL}/reset-password#token=" in mail.get_content()


@pytest.mark.parametrize("use", [reset, verify])
def test_invalid_tokens_get_same_response_without_hashing(
    auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User, use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    (forgot if use is reset else resend)(auth_client)
    token = mailbox.last_token()

    async def fail(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(PasswordHasher, "hash", fail)
    purpose = sql.value("SELECT purpose FROM one_time_tokens")
    other = "verify_email" if use is reset else "reset_password"
    problems = [assert_problem(use(auth_client, "x" * 43), 400, "invalid_token")]
    for bad, good in [
        ("UPDATE one_time_tokens SET purpose = %(other)s", "UPDATE one_time_tokens SET purpose = %(purpose)s"),
        ("UPDATE users SET is_active = false", "UPDATE users SET is_active = true"),
        ("UPDATE one_time_tokens SET expires_at = now()", "UPDATE one_time_tokens SET expires_at = 'infinity'"),
        ("DELETE FROM users", "SELECT 1"),
    ]:
        sql.do(bad, {"other": other})
        problems.append(assert_problem(use(auth_client, token), 400, "invalid_token"))
        sql.do(good, {"purpose": purpose})
    for problem in problems:
        del problem["request_id"]
    assert problems == [problems[0]] * 5


def test_used_token_gets_same_response_as_unknown_one(auth_client: TestClient, mailbox: Mailbox, ada: User) -> None:
    token = reset_token(auth_client, mailbox)
    assert reset(auth_client, token).status_code == 200
    used, unknown = (assert_problem(reset(auth_client, one), 400, "invalid_token") for one in (token, "x" * 43))
    assert used | {"request_id": ""} == unknown | {"request_id": ""}


@pytest.mark.parametrize("use", [reset, verify])
def test_one_of_concurrent_uses_of_token_succeeds(
    auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User, use: Use
) -> None:
    (forgot if use is reset else resend)(auth_client)
    token = mailbox.last_token()
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(answer.status_code for answer in pool.map(lambda _: use(auth_client, token), range(8)))
    assert statuses == [200] + [400] * 7
    assert len(entries(sql, "password.reset") + entries(sql, "email.verified")) == 1


def test_reset_invalidates_other_links_even_if_used_concurrently(
    auth_client: TestClient, mailbox: Mailbox, ada: User
) -> None:
    for _ in range(2):
        forgot(auth_client)
        mailbox.wait_until_sent()
    resend(auth_client)
    first, second, verification = (token_of(mail) for mail in mailbox.mails())
    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(
            answer.status_code for answer in pool.map(lambda one: reset(auth_client, one), (first, second))
        )
    assert statuses == [200, 400]
    assert_problem(verify(auth_client, verification), 400, "invalid_token")


def test_failed_reset_keeps_token_valid(
    auth_client: TestClient, mailbox: Mailbox, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = reset_token(auth_client, mailbox)

    async def fail(*_: object) -> None:
        raise DatabaseUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(audit_log, "record", fail)
        assert_problem(reset(auth_client, token), 503, "database_unavailable")
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).status_code == 200
    assert_problem(reset(auth_client, token, "password"), 422, "validation_error")
    assert reset(auth_client, token).status_code == 200


@pytest.mark.parametrize("is_verified", [False, True])
def test_reset_deletes_api_keys(
    auth_client: TestClient,
    mailbox: Mailbox,
    sql: Sql,
    ada: User,
    is_verified: bool,  # noqa: FBT001 - a parameter
) -> None:
    key = {"name": "script", "scopes": ["chat:read"]}
    assert auth_client.post(f"{AUTH}/api-keys", json=key, headers=ada.headers).status_code == 201
    sql.do("UPDATE users SET is_verified = %s", [is_verified])
    assert reset(auth_client, reset_token(auth_client, mailbox)).status_code == 200
    assert sql.value("SELECT count(*) FROM api_keys") == 0


def test_reset_ends_lockout(auth_client: TestClient, mailbox: Mailbox, settings: Settings, ada: User) -> None:
    for _ in range(settings.LOGIN_ATTEMPTS_PER_ACCOUNT + 1):
        blocked = login(auth_client, "ada", "wrong password")
    assert_problem(blocked, 429, "too_many_attempts")
    assert reset(auth_client, reset_token(auth_client, mailbox)).status_code == 200
    assert login(auth_client, "ada", NEW_PASSWORD).status_code == 200


def test_emails_per_recipient_are_limited(auth_client: TestClient, mailbox: Mailbox, ada: User, bob: User) -> None:
    spellings = [ADDRESS, "ADA@example.com", "Ada@Example.com", "aDA@EXAMPLE.COM", ADDRESS]
    answers = [forgot(auth_client, spelling) for spelling in spellings]
    assert len({(answer.status_code, answer.text) for answer in answers}) == 1
    assert len(mailbox.mails()) == MAX_EMAILS_PER_RECIPIENT == 3
    resend(auth_client)
    forgot(auth_client, bob.email)
    assert [mail["To"] for mail in mailbox.mails()[3:]] == [ADDRESS, bob.email]


def test_spellings_of_an_address_share_its_email_limit(
    auth_client: TestClient, mailbox: Mailbox, newcomer: Callable[[str], User]
) -> None:
    newcomer("iris")
    for spelling in ("iris", "İris", "irİs", "İrİs", "IRİS"):
        assert forgot(auth_client, f"{spelling}@example.com").status_code == 202
    assert [mail["To"] for mail in mailbox.mails()] == ["iris@example.com"] * MAX_EMAILS_PER_RECIPIENT


def test_email_limit_ends_with_its_window(auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User) -> None:
    for _ in range(MAX_EMAILS_PER_RECIPIENT + 1):
        forgot(auth_client)
    mailbox.wait_until_sent()
    ends = sql.rows(
        "SELECT extract(epoch FROM window_ends_at - now()) AS left FROM login_throttles WHERE key ^@ 'mail'"
    )
    assert all(3500 < row["left"] <= 3600 for row in ends)
    sql.do("UPDATE login_throttles SET window_ends_at = now()")
    forgot(auth_client)
    assert len(mailbox.mails()) == MAX_EMAILS_PER_RECIPIENT + 1


def test_emails_per_network_are_limited(auth_client: TestClient, sql: Sql) -> None:
    for number in range(MAX_EMAILS_PER_NETWORK):
        ask = forgot if number % 2 else resend
        assert ask(auth_client, f"user{number}@example.com").status_code == 202
    refused = forgot(auth_client, "one-more@example.com")
    assert_problem(refused, 429, "too_many_attempts")
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert sql.value("SELECT attempts FROM login_throttles WHERE key ^@ 'mail-from:'") == MAX_EMAILS_PER_NETWORK + 1


def test_counters_and_logs_contain_neither_addresses_nor_tokens(
    auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = reset_token(auth_client, mailbox)
    reset(auth_client, token)
    mailbox.wait_until_sent()
    assert "email sent" in caplog.text
    for text in (caplog.text, str(sql.rows("SELECT * FROM login_throttles")), str(sql.rows("SELECT * FROM audit_log"))):
        assert ADDRESS not in text
        assert token not in text


@pytest.mark.parametrize("token", ["", "x" * 201, "\x00", 5, None], ids=repr)
@pytest.mark.parametrize("use", [reset, verify])
def test_malformed_token_is_refused(auth_client: TestClient, use: Use, token: object) -> None:
    assert_problem(use(auth_client, token), 422, "validation_error")


@pytest.mark.parametrize("ask", [forgot, resend])
@pytest.mark.parametrize("address", ["ada", "ada@example.com\r\nBcc: eve@example.com", "a" * 250 + "@b.com", ""])
def test_malformed_address_is_refused(auth_client: TestClient, ask: Ask, address: str) -> None:
    assert_problem(ask(auth_client, address), 422, "validation_error")


@pytest.mark.parametrize("ask", [forgot, resend])
def test_link_requests_are_refused_when_email_is_disabled(
    settings: Settings, sql: Sql, auth_client: TestClient, ada: User, ask: Ask
) -> None:
    with TestClient(auth_main.create(settings)) as client:
        problems = [assert_problem(ask(client, one), 503, "mail_disabled") for one in (ADDRESS, "nobody@example.com")]
    for problem in problems:
        del problem["request_id"]
    assert problems[0] == problems[1]
    assert sql.value("SELECT count(*) FROM outgoing_mails") == 0
