"""Delivery of emails from the outbox: content, retries and refusals."""

import asyncio
import logging
import re

import pytest

from app.auth.email.delivery import FIRST_RETRY_DELAY, MAX_ATTEMPTS
from app.auth.email.outbox import MAX_EMAILS_PER_RECIPIENT
from app.core.security import hash_token
from app.database.repositories.accounts.email_outbox import EmailKind
from app.services.email.transport import EmailError
from tests.auth.email.deliveries import MakeDelivery, count_queued_emails, enqueue, make_account
from tests.fixtures.database import Sql
from tests.support.fakes import FakeEmailTransport

KINDS: list[EmailKind] = ["verify_email", "reset_password", "already_registered", "password_changed"]
TEMPORARY_ERROR = EmailError("SMTPConnectError", is_permanent=False)
PERMANENT_ERROR = EmailError("reply 550", is_permanent=True)


def make_due(sql: Sql) -> None:
    sql.do("UPDATE outgoing_mails SET next_attempt_at = now()")


@pytest.mark.parametrize(
    ("kind", "page", "purpose", "lifetime"),
    [
        ("verify_email", "verify-email", "verify_email", "24 hours"),
        ("reset_password", "reset-password", "reset_password", "30 minutes"),
        ("already_registered", "reset-password", "reset_password", "30 minutes"),
    ],
)
async def test_link_contains_new_token_stored_as_hash(
    make_delivery: MakeDelivery, sql: Sql, kind: EmailKind, page: str, purpose: str, lifetime: str
) -> None:
    make_account(sql)
    server = FakeEmailTransport()
    delivery = make_delivery(server)
    await enqueue(delivery, kind)
    assert await delivery.deliver_next()
    (mail,) = server.sent
    (link,) = re.findall(r"^https://\S+$", mail.text, re.MULTILINE)
    address, _, token = link.partition("#token=")
    assert address == f"https://chat.example.com/{page}"
    assert f"for {lifetime}." in mail.text
    (row,) = sql.rows("SELECT *, extract(epoch FROM expires_at - created_at) AS life FROM one_time_tokens")
    assert bytes(row["token_hash"]) == hash_token(token)
    assert row["purpose"] == purpose
    assert row["life"] == {"24 hours": 86_400, "30 minutes": 1800}[lifetime]
    assert count_queued_emails(sql) == 0
    assert not await delivery.deliver_next()


async def test_notice_contains_no_token(make_delivery: MakeDelivery, sql: Sql) -> None:
    make_account(sql)
    server = FakeEmailTransport()
    delivery = make_delivery(server)
    await enqueue(delivery, "password_changed")
    await delivery.deliver_next()
    assert "token" not in server.sent[0].text
    assert sql.value("SELECT count(*) FROM one_time_tokens") == 0


@pytest.mark.parametrize(
    ("columns", "kinds"),
    [
        pytest.param({}, KINDS, id="account"),
        pytest.param(
            {"is_verified": True}, ["reset_password", "already_registered", "password_changed"], id="verified account"
        ),
        pytest.param({"is_active": False}, [], id="disabled account"),
        pytest.param(None, [], id="no account"),
    ],
)
async def test_email_that_no_longer_applies_is_dropped(
    make_delivery: MakeDelivery, sql: Sql, columns: dict[str, bool] | None, kinds: list[EmailKind]
) -> None:
    if columns is not None:
        make_account(sql, **columns)
    sent = []
    for kind in KINDS:
        server = FakeEmailTransport()
        delivery = make_delivery(server)
        await enqueue(delivery, kind)
        await delivery.deliver_next()
        assert count_queued_emails(sql) == 0
        sent += [kind] * len(server.sent)
    assert sent == kinds


async def test_email_to_an_account_that_is_being_erased_is_dropped(make_delivery: MakeDelivery, sql: Sql) -> None:
    make_account(sql)
    server = FakeEmailTransport()
    delivery = make_delivery(server)
    await enqueue(delivery, "reset_password")
    sql.do("BEGIN")
    try:
        sql.do("DELETE FROM users")
        delivering = asyncio.create_task(delivery.deliver_next())
        await asyncio.to_thread(sql.wait_for_blocked)
    finally:
        sql.do("COMMIT")
    assert await delivering
    assert not server.sent
    assert count_queued_emails(sql) == 0


async def test_dropped_email_is_not_counted(make_delivery: MakeDelivery, sql: Sql) -> None:
    server = FakeEmailTransport()
    delivery = make_delivery(server)
    for _ in range(MAX_EMAILS_PER_RECIPIENT + 1):  # before the address has an account
        await enqueue(delivery, "verify_email")
        assert await delivery.deliver_next()
    make_account(sql)
    for _ in range(MAX_EMAILS_PER_RECIPIENT + 1):
        await enqueue(delivery, "verify_email")
        await delivery.deliver_next()
    assert len(server.sent) == MAX_EMAILS_PER_RECIPIENT


async def test_email_over_the_limit_is_not_counted(make_delivery: MakeDelivery, sql: Sql) -> None:
    server = FakeEmailTransport()
    delivery = make_delivery(server)
    for _ in range(2 * MAX_EMAILS_PER_RECIPIENT):  # before the address has an account, and before any is dropped
        await enqueue(delivery, "verify_email")
    while await delivery.deliver_next():
        pass
    make_account(sql)
    await enqueue(delivery, "verify_email")
    await delivery.deliver_next()
    assert len(server.sent) == 1


async def test_email_is_sent_to_registered_spelling_of_address(make_delivery: MakeDelivery, sql: Sql) -> None:
    make_account(sql, "Ada@example.com")
    server = FakeEmailTransport()
    delivery = make_delivery(server)
    await enqueue(delivery, "reset_password", "aDA@example.com")
    await delivery.deliver_next()
    assert server.sent[0].recipient == "Ada@example.com"


async def test_failed_delivery_is_retried_with_backoff_up_to_maximum(
    make_delivery: MakeDelivery, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    make_account(sql)
    server = FakeEmailTransport(*[TEMPORARY_ERROR] * (MAX_ATTEMPTS + 1))
    delivery = make_delivery(server)
    await enqueue(delivery, "reset_password")
    for number in range(MAX_ATTEMPTS - 1):
        before = sql.value("SELECT clock_timestamp()")
        assert await delivery.deliver_next()
        after = sql.value("SELECT clock_timestamp()")
        delay = FIRST_RETRY_DELAY * 2**number
        assert before + 0.8 * delay < sql.value("SELECT next_attempt_at FROM outgoing_mails") < after + 1.2 * delay
        assert not await delivery.deliver_next()
        make_due(sql)
    assert count_queued_emails(sql) == 1
    await delivery.deliver_next()
    assert count_queued_emails(sql) == 0
    assert server.sent == []
    assert [record.message for record in caplog.records if "mail" in record.name] == [
        *["email delivery failed, will be retried"] * (MAX_ATTEMPTS - 1),
        "email delivery failed permanently",
    ]
    assert "@" not in caplog.text
    assert "token" not in caplog.text


async def test_permanent_refusal_is_not_retried(
    make_delivery: MakeDelivery, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    make_account(sql)
    delivery = make_delivery(FakeEmailTransport(PERMANENT_ERROR))
    await enqueue(delivery, "reset_password")
    await delivery.deliver_next()
    assert count_queued_emails(sql) == 0
    assert "email delivery failed permanently" in caplog.text
    assert "ada" not in caplog.text


async def test_email_whose_attempts_crash_the_process_fails_permanently(make_delivery: MakeDelivery, sql: Sql) -> None:
    make_account(sql)
    server = FakeEmailTransport()
    delivery = make_delivery(server)
    await enqueue(delivery, "reset_password")
    sql.do("UPDATE outgoing_mails SET attempts = %s", [MAX_ATTEMPTS])
    assert await delivery.deliver_next()
    assert (server.sent, count_queued_emails(sql)) == ([], 0)
