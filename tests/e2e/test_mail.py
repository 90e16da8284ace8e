"""Links in emails, through the gateway, with the email files of the local stack."""

from collections.abc import Callable
from email.message import EmailMessage

import httpx
import pytest

from local.stack import Stack
from tests.e2e.conftest import PASSWORD, UserClient
from tests.fixtures.mail import read_mail, token_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

NEW_PASSWORD = "another battery, another staple"


def token_from_mail(stack: Stack, recipient: str, subject: str) -> str:
    """Wait for an email and return the token in its link."""
    directory = stack.mail_directory
    assert directory is not None

    def received() -> list[EmailMessage]:
        mails = map(read_mail, sorted(directory.glob("*.eml"), reverse=True))
        return [mail for mail in mails if mail["To"] == recipient and subject in mail["Subject"]]

    wait_until(received)
    mail = received()[0]
    assert f"\n{stack.url}/" in mail.get_content()
    return token_of(mail)


def test_password_is_reset_with_the_emailed_token(
    stack: Stack, anonymous: httpx.Client, make_user_client: Callable[[str], UserClient]
) -> None:
    user = make_user_client("forgetful")
    path = "/api/v1/auth/password"
    forgot = anonymous.post(
        f"{path}/forgot", json={"email": "forgetful@example.com"}, headers={"X-Forwarded-Host": "evil.example"}
    )
    assert forgot.status_code == 202
    token = token_from_mail(stack, "forgetful@example.com", "Reset your password")
    new = {"token": token, "new_password": NEW_PASSWORD}
    assert anonymous.post(f"{path}/reset", json=new).status_code == 200
    assert anonymous.post(f"{path}/reset", json=new).json()["code"] == "invalid_token"
    assert user.client.get("/api/v1/chat/sessions").status_code == 401
    for password, status in ((PASSWORD, 401), (NEW_PASSWORD, 200)):
        form = {"username": "forgetful", "password": password}
        assert anonymous.post("/api/v1/auth/login", data=form).status_code == status


def test_address_is_verified_with_the_emailed_token(
    stack: Stack, anonymous: httpx.Client, make_user_client: Callable[[str], UserClient]
) -> None:
    user = make_user_client("newcomer")
    assert user.client.get("/api/v1/auth/me").json()["is_verified"] is False
    token = token_from_mail(stack, "newcomer@example.com", "Verify your email address")
    assert anonymous.post("/api/v1/auth/email/verify", json={"token": token}).status_code == 200
    assert user.client.get("/api/v1/auth/me").json()["is_verified"] is True


def test_email_files_are_readable_by_their_owner_only(
    stack: Stack, make_user_client: Callable[[str], UserClient]
) -> None:
    make_user_client("private")
    token_from_mail(stack, "private@example.com", "Verify your email address")
    assert stack.mail_directory is not None
    assert stack.mail_directory.stat().st_mode & 0o077 == 0
    assert {file.stat().st_mode & 0o077 for file in stack.mail_directory.iterdir()} == {0}


def test_logs_contain_neither_tokens_nor_email_addresses(
    stack: Stack, anonymous: httpx.Client, make_user_client: Callable[[str], UserClient]
) -> None:
    make_user_client("reticent")
    token = token_from_mail(stack, "reticent@example.com", "Verify your email address")
    anonymous.post("/api/v1/auth/email/verify", json={"token": token})
    for log in (stack.home / "logs").glob("*.log"):
        text = log.read_text(errors="replace")
        assert token not in text, log.name
        assert "reticent@example.com" not in text, log.name
