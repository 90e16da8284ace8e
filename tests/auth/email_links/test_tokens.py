"""One-time tokens of links: validity, concurrent use and effects of a password reset."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.core.password_hashing import PasswordHasher
from app.database.repositories.audit import audit_log
from tests.auth.email_links.link_requests import (
    NEW_PASSWORD,
    UseToken,
    entries,
    request_reset_email,
    request_verification_email,
    reset_password,
    reset_token,
    verify_email,
)
from tests.fixtures.database import Sql
from tests.fixtures.mail import Mailbox, token_of
from tests.fixtures.services import AUTH, User, assert_problem, login


@pytest.mark.parametrize("use", [reset_password, verify_email])
def test_invalid_tokens_get_same_response_without_hashing(
    auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User, use: UseToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    (request_reset_email if use is reset_password else request_verification_email)(auth_client)
    token = mailbox.last_token()

    async def fail(*_: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(PasswordHasher, "hash", fail)
    purpose = sql.value("SELECT purpose FROM one_time_tokens")
    other = "verify_email" if use is reset_password else "reset_password"
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
    assert reset_password(auth_client, token).status_code == 200
    used, unknown = (
        assert_problem(reset_password(auth_client, value), 400, "invalid_token") for value in (token, "x" * 43)
    )
    assert used | {"request_id": ""} == unknown | {"request_id": ""}


@pytest.mark.parametrize("use", [reset_password, verify_email])
def test_one_of_concurrent_uses_of_token_succeeds(
    auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User, use: UseToken
) -> None:
    (request_reset_email if use is reset_password else request_verification_email)(auth_client)
    token = mailbox.last_token()
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(response.status_code for response in pool.map(lambda _: use(auth_client, token), range(8)))
    assert statuses == [200] + [400] * 7
    assert len(entries(sql, "password.reset") + entries(sql, "email.verified")) == 1


def test_reset_invalidates_other_links_even_if_used_concurrently(
    auth_client: TestClient, mailbox: Mailbox, ada: User
) -> None:
    for _ in range(2):
        request_reset_email(auth_client)
        mailbox.wait_until_sent()
    request_verification_email(auth_client)
    first, second, verification = (token_of(mail) for mail in mailbox.mails())
    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(
            response.status_code
            for response in pool.map(lambda token: reset_password(auth_client, token), (first, second))
        )
    assert statuses == [200, 400]
    assert_problem(verify_email(auth_client, verification), 400, "invalid_token")


def test_failed_reset_keeps_token_valid(
    auth_client: TestClient, mailbox: Mailbox, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = reset_token(auth_client, mailbox)

    async def fail(*_: object) -> None:
        raise DatabaseUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(audit_log, "record", fail)
        assert_problem(reset_password(auth_client, token), 503, "database_unavailable")
    assert auth_client.get(f"{AUTH}/me", headers=ada.headers).status_code == 200
    assert_problem(reset_password(auth_client, token, "password"), 422, "validation_error")
    assert reset_password(auth_client, token).status_code == 200


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
    assert reset_password(auth_client, reset_token(auth_client, mailbox)).status_code == 200
    assert sql.value("SELECT count(*) FROM api_keys") == 0


def test_reset_ends_lockout(auth_client: TestClient, mailbox: Mailbox, settings: Settings, ada: User) -> None:
    for _ in range(settings.LOGIN_ATTEMPTS_PER_ACCOUNT + 1):
        blocked = login(auth_client, "ada", "wrong password")
    assert_problem(blocked, 429, "too_many_attempts")
    assert reset_password(auth_client, reset_token(auth_client, mailbox)).status_code == 200
    assert login(auth_client, "ada", NEW_PASSWORD).status_code == 200


@pytest.mark.parametrize("token", ["", "x" * 201, "\x00", 5, None], ids=repr)
@pytest.mark.parametrize("use", [reset_password, verify_email])
def test_malformed_token_is_refused(auth_client: TestClient, use: UseToken, token: object) -> None:
    assert_problem(use(auth_client, token), 422, "validation_error")
