"""Delivery loop of emails: polling, leases, outages and shutdown."""

import asyncio
from datetime import timedelta

import pytest

from app.auth.email.outbox import EmailOutbox
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database, DatabaseConnection
from app.database.repositories.accounts import email_outbox
from app.database.repositories.accounts.email_outbox import ClaimedEmail
from tests.auth.email.deliveries import MakeDelivery, count_queued_emails, enqueue, make_account
from tests.fixtures.database import Sql
from tests.support.fakes import FakeEmailTransport
from tests.support.waiting import LONGEST_WAIT, eventually


async def test_email_is_leased_and_no_connection_held_during_delivery(make_delivery: MakeDelivery, sql: Sql) -> None:
    make_account(sql)
    gate = asyncio.Event()
    server, other = FakeEmailTransport(gate=gate), FakeEmailTransport()
    delivery = make_delivery(server)
    await enqueue(delivery, "reset_password")
    sending = asyncio.create_task(delivery.deliver_next())
    await server.was_called.wait()
    assert delivery.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # of the pool that is used
    assert not await make_delivery(other).deliver_next()
    gate.set()
    assert await sending
    assert (len(server.sent), other.sent) == (1, [])


async def wait_for_email(server: FakeEmailTransport) -> None:
    await asyncio.wait_for(server.was_sent.wait(), LONGEST_WAIT)
    server.was_sent.clear()


async def test_own_emails_are_sent_immediately_and_those_of_others_after_polling(
    make_delivery: MakeDelivery, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(sql)
    monkeypatch.setattr("app.auth.email.delivery._POLL_INTERVAL", 3600)
    polls, claim = 0, email_outbox.claim

    async def claim_and_count(connection: DatabaseConnection, *, lease: timedelta) -> ClaimedEmail | None:
        nonlocal polls
        claimed = await claim(connection, lease=lease)
        polls += claimed is None
        return claimed

    monkeypatch.setattr(email_outbox, "claim", claim_and_count)
    server = FakeEmailTransport()
    delivery = make_delivery(server)
    async with delivery.running():
        await eventually(lambda: polls == 1)  # the loop is idle
        await enqueue(delivery, "reset_password")
        delivery.outbox.wake()
        await wait_for_email(server)
    monkeypatch.setattr("app.auth.email.delivery._POLL_INTERVAL", 0.1)
    polls = 0
    async with delivery.running():
        await eventually(lambda: polls > 0)
        await enqueue(delivery, "reset_password")
        await wait_for_email(server)


async def test_delivery_loop_survives_database_outage_and_exception(
    make_delivery: MakeDelivery, sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_account(sql)
    monkeypatch.setattr("app.auth.email.delivery._POLL_INTERVAL", 0.05)
    outages, claim = iter(range(3)), email_outbox.claim

    async def claim_after_outages(connection: DatabaseConnection, *, lease: timedelta) -> ClaimedEmail | None:
        if next(outages, None) is not None:
            raise DatabaseUnavailableError
        return await claim(connection, lease=lease)

    monkeypatch.setattr(email_outbox, "claim", claim_after_outages)
    server = FakeEmailTransport(ZeroDivisionError())
    delivery = make_delivery(server)
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
    make_delivery: MakeDelivery, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_account(sql)
    gate = asyncio.Event()
    server = FakeEmailTransport(gate=gate)
    delivery = make_delivery(server)
    await enqueue(delivery, "reset_password")
    monkeypatch.setattr("app.auth.email.delivery._STOP_TIMEOUT", LONGEST_WAIT)
    async with delivery.running():
        await server.was_called.wait()
        asyncio.get_running_loop().call_later(0.2, gate.set)
    assert (len(server.sent), count_queued_emails(sql)) == (1, 0)

    monkeypatch.setattr("app.auth.email.delivery._STOP_TIMEOUT", 0.1)
    server = FakeEmailTransport(gate=asyncio.Event())
    delivery = make_delivery(server)
    await enqueue(delivery, "reset_password")
    async with asyncio.timeout(LONGEST_WAIT), delivery.running():
        await server.was_called.wait()
    assert (server.sent, count_queued_emails(sql)) == ([], 1)  # it is sent again when the lease expires


async def test_outbox_stays_empty_when_email_is_disabled(database: Database, sql: Sql) -> None:
    outbox = EmailOutbox(is_enabled=False)
    async with database.autocommit() as connection:
        await outbox.enqueue(connection, "verify_email", "ada@example.com")
    assert count_queued_emails(sql) == 0
