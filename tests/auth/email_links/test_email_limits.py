"""Limits of emails for each recipient and network."""

from collections.abc import Callable

from fastapi.testclient import TestClient

from app.auth.email.outbox import MAX_EMAILS_PER_NETWORK, MAX_EMAILS_PER_RECIPIENT
from tests.auth.email_links.link_requests import ADDRESS, request_reset_email, request_verification_email
from tests.fixtures.database import Sql
from tests.fixtures.mail import Mailbox
from tests.fixtures.services import User, assert_problem


def test_emails_per_recipient_are_limited(auth_client: TestClient, mailbox: Mailbox, ada: User, bob: User) -> None:
    spellings = [ADDRESS, "ADA@example.com", "Ada@Example.com", "aDA@EXAMPLE.COM", ADDRESS]
    responses = [request_reset_email(auth_client, spelling) for spelling in spellings]
    assert len({(response.status_code, response.text) for response in responses}) == 1
    assert len(mailbox.mails()) == MAX_EMAILS_PER_RECIPIENT == 3
    request_verification_email(auth_client)
    request_reset_email(auth_client, bob.email)
    assert [mail["To"] for mail in mailbox.mails()[3:]] == [ADDRESS, bob.email]


def test_spellings_of_an_address_share_its_email_limit(
    auth_client: TestClient, mailbox: Mailbox, register_user: Callable[[str], User]
) -> None:
    register_user("iris")
    for spelling in ("iris", "Iris", "irIs", "ｉｒｉｓ", "IRIS"):
        assert request_reset_email(auth_client, f"{spelling}@example.com").status_code == 202
    assert [mail["To"] for mail in mailbox.mails()] == ["iris@example.com"] * MAX_EMAILS_PER_RECIPIENT


def test_email_limit_ends_with_its_window(auth_client: TestClient, mailbox: Mailbox, sql: Sql, ada: User) -> None:
    for _ in range(MAX_EMAILS_PER_RECIPIENT + 1):
        request_reset_email(auth_client)
    mailbox.wait_until_sent()
    (left,) = sql.rows(
        "SELECT extract(epoch FROM max(window_ends_at) - now()) AS window,"
        " extract(epoch FROM (SELECT min(expires_at) FROM one_time_tokens) - max(window_ends_at)) AS longer_valid"
        " FROM login_throttles WHERE key ^@ 'mail:'"
    )
    assert 1700 < left["window"] <= 1800
    assert left["longer_valid"] >= 0, "without a valid link, the owner could not reset the password"
    sql.do("UPDATE login_throttles SET window_ends_at = now()")
    request_reset_email(auth_client)
    assert len(mailbox.mails()) == MAX_EMAILS_PER_RECIPIENT + 1


def test_emails_per_network_are_limited(auth_client: TestClient, sql: Sql) -> None:
    for number in range(MAX_EMAILS_PER_NETWORK):
        ask = request_reset_email if number % 2 else request_verification_email
        assert ask(auth_client, f"user{number}@example.com").status_code == 202
    refused = request_reset_email(auth_client, "one-more@example.com")
    assert_problem(refused, 429, "too_many_attempts")
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    assert sql.value("SELECT attempts FROM login_throttles WHERE key ^@ 'mail-from:'") == MAX_EMAILS_PER_NETWORK + 1
