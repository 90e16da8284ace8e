"""Delivery of emails from the outbox."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from app.auth.email.delivery import FIRST_RETRY_DELAY, MAX_ATTEMPTS, EmailDelivery
from app.auth.email.outbox import MAX_EMAILS_PER_RECIPIENT, EmailOutbox
from app.auth.email.templates import EmailTemplates
from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.core.security import hash_token
from app.database.connection import Database, DatabaseConnection
from app.database.repositories.accounts import email_outbox
from app.database.repositories.accounts.email_outbox import ClaimedEmail, EmailKind
from app.services.email.transport import EmailError
from tests.fixtures.database import Sql
from tests.support.fakes import FakeEmailTransport
from tests.support.waiting import LONGEST_WAIT, eventually

KINDS: list[EmailKind] = ["verify_email", "reset_password", "already_registered", "password_changed"]
TEMPLATES = EmailTemplates(
    project_name="Chat",
    public_url="https://chat.example.com",
    verification_lifetime=timedelta(hours=24),
    reset_lifetime=timedelta(minutes=30),
)
OUTAGE = EmailError("SMTPConnectError", is_permanent=False)
REFUSAL = EmailError("reply 550", is_permanent=True)


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    database = Database.from_settings(settings, application_name="test")
    yield database
    await database.close()


@pytest.fixture
def deliver(database: Database) -> Callable[[FakeEmailTransport], EmailDelivery]:
    """Returns an email delivery with the given transport."""

    def make(transport: FakeEmailTransport) -> EmailDelivery:
        return EmailDelivery(
            database=database,
            transport=transport,
            templates=TEMPLATES,
            outbox=EmailOutbox(is_enabled=True),
            lease=timedelta(seconds=60),
        )

    return make


Deliver = Callable[[FakeEmailTransport], EmailDelivery]


def make_account(
    sql: Sql, email: str = "ada@example.com", /, *, is_active: bool = True, is_verified: bool = False
) -> None:
    sql.do(
        "INSERT INTO users (uuid, username, password_hash, email, is_active, is_verified)"
        " VALUES (gen_random_uuid(), 'ada', 'x', %s, %s, %s)",
        [email, is_active, is_verified],
    )


async def enqueue(delivery: EmailDelivery, kind: EmailKind, recipient: str = "ada@example.com") -> None:
    async with delivery.database.autocommit() as connection:
        await delivery.outbox.enqueue(connection, kind, recipient)


def rows(sql: Sql) -> int:
    return int(sql.value("SELECT count(*) FROM outgoing_mails"))


def make_due(sql: Sql) -> None:
    sql.do("UPDATE outgoing_mails SET next_attempt_at = now()")


@pytest.mark.parametrize(
    ("kind", "page", "purpose", "life"),
    [
        ("verify_email", "verify-email", "verify_email", "24 hours"),
        ("reset_password", "reset-password", "reset_password", "30 minutes"),
        ("already_registered", "reset-password", "reset_password", "30 minutes"),
    ],
)
async def test_link_contains_new_token_stored_as_hash(
    deliver: Deliver, sql: Sql, kind: EmailKind, page: str, purpose: str, life: str
) -> None:
    make_account(sql)
    server = FakeEmailTransport()
    delivery = deliver(server)
    await enqueue(delivery, kind)
    assert await delivery.deliver_next()
    (mail,) = server.sent
    (link,) = re.findall(r"^https://\S+$", mail.text, re.MULTILINE)
    address, _, token = link.partition("#token=")
    assert address == f"https://chat.example.com/{page}"
    assert f"for {life}." in mail.text
    (row,) = sql.rows("SELECT *, extract(epoch FROM expires_at - created_at) AS life FROM one_time_tokens")
    assert bytes(row["token_hash"]) == hash_token(token)
    assert row["purpose"] == purpose
    assert row["life"] == {"24 hours": 86_400, "30 minutes": 1800}[life]
    assert rows(sql) == 0
    assert not await delivery.deliver_next()


async def test_notice_contains_no_token(deliver: Deliver, sql: Sql) -> None:
    make_account(sql)
    server = FakeEmailTransport()
    delivery = deliver(server)
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
    deliver: Deliver, sql: Sql, columns: dict[str, bool] | None, kinds: list[EmailKind]
) -> None:
    if columns is not None:
        make_account(sql, **columns)
    sent = []
    for kind in KINDS:
        server = FakeEmailTransport()
        delivery = deliver(server)
        await enqueue(delivery, kind)
        await delivery.deliver_next()
        assert rows(sql) == 0
        sent += [kind] * len(server.sent)
    assert sent == kinds


async def test_dropped_email_is_not_counted(deliver: Deliver, sql: Sql) -> None:
    server = FakeEmailTransport()
    delivery = deliver(server)
    for _ in range(MAX_EMAILS_PER_RECIPIENT + 1):  # before the address has an account
        await enqueue(delivery, "verify_email")
        assert await delivery.deliver_next()
    make_account(sql)
    for _ in range(MAX_EMAILS_PER_RECIPIENT + 1):
        await enqueue(delivery, "verify_email")
        await delivery.deliver_next()
    assert len(server.sent) == MAX_EMAILS_PER_RECIPIENT


async def test_email_is_sent_to_registered_spelling_of_address(deliver: Deliver, sql: Sql) -> None:
    make_account(sql, "Ada@example.com")
    server = FakeEmailTransport()
    delivery = deliver(server)
    await enqueue(delivery, "reset_password", "aDA@example.com")
    await delivery.deliver_next()
    assert server.sent[0].recipient == "Ada@example.com"


async def test_failed_delivery_is_retried_with_backoff_up_to_maximum(
    deliver: Deliver, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    make_account(sql)
    server = FakeEmailTransport(*[OUTAGE] * (MAX_ATTEMPTS + 1))
    delivery = deliver(server)
    await enqueue(delivery, "reset_password")
    for number in range(MAX_ATTEMPTS - 1):
        before = sql.value("SELECT clock_timestamp()")
        assert await delivery.deliver_next()
        after = sql.value("SELECT clock_timestamp()")
        delay = FIRST_RETRY_DELAY * 2**number
        assert before + 0.8 * delay < sql.value("SELECT next_attempt_at FROM outgoing_mails") < after + 1.2 * delay
        assert not await delivery.deliver_next()
        make_due(sql)
    assert rows(sql) == 1
    await delivery.deliver_next()
    assert rows(sql) == 0
    assert server.sent == []
    assert [record.message for record in caplog.records if "mail" in record.name] == [
        *["email delivery failed, will be retried"] * (MAX_ATTEMPTS - 1),
        "email delivery failed permanently",
    ]
    assert "@" not in caplog.text
    assert "token" not in caplog.text


async def test_permanent_refusal_is_not_retried(deliver: Deliver, sql: Sql, caplog: pytest.LogCaptureFixture) -> None:
    make_account(sql)
    delivery = deliver(FakeEmailTransport(REFUSAL))
    await enqueue(delivery, "reset_password")
    await delivery.deliver_next()
    assert rows(sql) == 0
    assert "email delivery failed permanently" in caplog.text
    assert "ada" not in caplog.text


async def test_email_whose_attempts_crash_the_process_fails_permanently(deliver: Deliver, sql: Sql) -> None:
    make_account(sql)
    server = FakeEmailTransport()
    delivery = deliver(server)
    await enqueue(delivery, "reset_password")
    sql.do("UPDATE outgoing_mails SET attempts = %s", [MAX_ATTEMPTS])
    assert await delivery.deliver_next()
    assert (server.sent, rows(sql)) == ([], 0)


async def test_email_is_leased_and_no_connection_held_during_delivery(deliver: Deliver, sql: Sql) -> None:
    make_account(sql)
    gate = asyncio.Event()
    server, other = FakeEmailTransport(gate=gate), FakeEmailTransport()
    delivery = deliver(server)
    await enqueue(delivery, "reset_password")
    sending = asyncio.create_task(delivery.deliver_next())
    await server.was_called.wait()
    assert delivery.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # of the pool that is used
    assert not await deliver(other).deliver_next()
    gate.set()
    assert await sending
    assert (len(server.sent), other.sent) == (1, [])


async def wait_for_email(server: FakeEmailTransport) -> None:
    await asyncio.wait_for(server.was_sent.wait(), LONGEST_WAIT)
    server.was_sent.clear()


async def test_own_emails_are_sent_immediately_and_those_of_others_after_polling(
    deliver: Deliver, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(sql)
    monkeypatch.setattr("app.auth.email.delivery._POLL_INTERVAL", 3600)
    looks, claim = 0, email_outbox.claim

    async def counted_claim(connection: DatabaseConnection, *, lease: timedelta) -> ClaimedEmail | None:
        nonlocal looks
        claimed = await claim(connection, lease=lease)
        looks += claimed is None
        return claimed

    monkeypatch.setattr(email_outbox, "claim", counted_claim)
    server = FakeEmailTransport()
    delivery = deliver(server)
    async with delivery.running():
        await eventually(lambda: looks == 1)  # the loop is idle
        await enqueue(delivery, "reset_password")
        delivery.outbox.wake()
        await wait_for_email(server)
    monkeypatch.setattr("app.auth.email.delivery._POLL_INTERVAL", 0.1)
    looks = 0
    async with delivery.running():
        await eventually(lambda: looks > 0)
        await enqueue(delivery, "reset_password")
        await wait_for_email(server)


async def test_delivery_loop_survives_database_outage_and_exception(
    deliver: Deliver, sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_account(sql)
    monkeypatch.setattr("app.auth.email.delivery._POLL_INTERVAL", 0.05)
    outages, claim = iter(range(3)), email_outbox.claim

    async def claim_later(connection: DatabaseConnection, *, lease: timedelta) -> ClaimedEmail | None:
        if next(outages, None) is not None:
            raise DatabaseUnavailableError
        return await claim(connection, lease=lease)

    monkeypatch.setattr(email_outbox, "claim", claim_later)
    server = FakeEmailTransport(ZeroDivisionError())
    delivery = deliver(server)
    await enqueue(delivery, "reset_password")
    await enqueue(delivery, "password_changed")
    async with delivery.running():
        await wait_for_email(server)
    assert next(outages, None) is None
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "email delivery loop failed"
    ]
    assert sql.rows("SELECT kind, attempts FROM outgoing_mails") == [{"kind": "reset_password", "attempts": 1}]


async def test_stop_waits_for_current_email_up_to_timeout(
    deliver: Deliver, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(sql)
    gate = asyncio.Event()
    server = FakeEmailTransport(gate=gate)
    delivery = deliver(server)
    await enqueue(delivery, "reset_password")
    monkeypatch.setattr("app.auth.email.delivery._STOP_TIMEOUT", LONGEST_WAIT)
    async with delivery.running():
        await server.was_called.wait()
        asyncio.get_running_loop().call_later(0.2, gate.set)
    assert (len(server.sent), rows(sql)) == (1, 0)

    monkeypatch.setattr("app.auth.email.delivery._STOP_TIMEOUT", 0.1)
    server = FakeEmailTransport(gate=asyncio.Event())
    delivery = deliver(server)
    await enqueue(delivery, "reset_password")
    async with asyncio.timeout(LONGEST_WAIT), delivery.running():
        await server.was_called.wait()
    assert (server.sent, rows(sql)) == ([], 1)  # it is sent again when the lease expires


async def test_outbox_stays_empty_when_email_is_disabled(database: Database, sql: Sql) -> None:
    outbox = EmailOutbox(is_enabled=False)
    async with database.autocommit() as connection:
        await outbox.enqueue(connection, "verify_email", "ada@example.com")
    assert rows(sql) == 0
