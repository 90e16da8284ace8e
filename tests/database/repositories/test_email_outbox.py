"""Claims of emails in the outbox."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from app.config import Settings
from app.database.connection import Database
from app.database.repositories.accounts import email_outbox
from app.database.repositories.accounts.email_outbox import ClaimedEmail
from tests.fixtures.database import Sql
from tests.support.waiting import LONGEST_WAIT

LEASE = timedelta(seconds=60)


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    database = Database.from_settings(settings, application_name="test")
    yield database
    await database.close()


async def enqueue(database: Database, recipient: str = "ada@example.com") -> None:
    async with database.autocommit() as connection:
        await email_outbox.enqueue(
            connection, "reset_password", recipient, counter=recipient, window=timedelta(hours=1), limit=1
        )


async def claim(database: Database) -> ClaimedEmail | None:
    async with database.autocommit() as connection:
        return await email_outbox.claim(connection, lease=LEASE)


async def test_a_claim_increments_attempts_and_lasts_for_its_lease(database: Database, sql: Sql) -> None:
    await enqueue(database)
    first = await claim(database)
    assert first == ClaimedEmail(first.id if first else 0, "reset_password", "ada@example.com", attempts=1)
    assert await claim(database) is None
    sql.do("UPDATE outgoing_mails SET next_attempt_at = next_attempt_at - interval '59 s'")
    assert await claim(database) is None
    sql.do("UPDATE outgoing_mails SET next_attempt_at = next_attempt_at - interval '2 s'")
    second = await claim(database)
    assert second is not None
    assert second.attempts == 2


async def test_concurrent_claims_get_different_emails(database: Database) -> None:
    for number in range(10):
        await enqueue(database, f"user{number}@example.com")
    claims = [email for email in await asyncio.gather(*(claim(database) for _ in range(40))) if email is not None]
    # A claim that meets locked rows may return nothing. Later claims get the rest.
    while (email := await claim(database)) is not None:
        claims.append(email)
    assert sorted(email.recipient for email in claims) == [f"user{number}@example.com" for number in range(10)]


async def test_a_locked_email_is_skipped(database: Database) -> None:
    await enqueue(database, "first@example.com")
    await enqueue(database, "second@example.com")
    async with database.transaction() as session:
        locked = await email_outbox.claim(await session.connection(), lease=LEASE)
        other = await asyncio.wait_for(claim(database), LONGEST_WAIT)
    assert locked is not None
    assert other is not None
    assert (locked.recipient, other.recipient) == ("first@example.com", "second@example.com")


async def test_the_email_due_for_longest_is_claimed_first(database: Database, sql: Sql) -> None:
    await enqueue(database, "late@example.com")
    await enqueue(database, "early@example.com")
    sql.do("UPDATE outgoing_mails SET next_attempt_at = now() - interval '1 h' WHERE id = 2")
    first = await claim(database)
    assert first is not None
    assert first.recipient == "early@example.com"


async def test_a_postponed_email_is_not_claimed_before_its_delay(database: Database, sql: Sql) -> None:
    await enqueue(database)
    claimed = await claim(database)
    assert claimed is not None
    async with database.autocommit() as connection:
        await email_outbox.postpone(connection, claimed, delay=timedelta(minutes=5))
    wait = sql.value("SELECT extract(epoch FROM next_attempt_at - now()) FROM outgoing_mails")
    assert 290 < wait <= 300
    assert await claim(database) is None


async def test_an_expired_claim_has_no_effect(database: Database, sql: Sql) -> None:
    await enqueue(database)
    expired = await claim(database)
    sql.do("UPDATE outgoing_mails SET next_attempt_at = now()")
    current = await claim(database)
    assert expired is not None
    assert current is not None
    async with database.autocommit() as connection:
        await email_outbox.postpone(connection, expired, delay=timedelta(0))
        await email_outbox.remove(connection, expired)
        assert await claim(database) is None
        assert sql.value("SELECT count(*) FROM outgoing_mails") == 1
        await email_outbox.remove(connection, current)
    assert sql.value("SELECT count(*) FROM outgoing_mails") == 0


async def test_a_rolled_back_transaction_enqueues_no_email(database: Database, sql: Sql) -> None:
    async def fail() -> None:
        async with database.transaction() as session:
            await email_outbox.enqueue(
                session, "verify_email", "ada@example.com", counter="ada", window=timedelta(hours=1), limit=1
            )
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert sql.value("SELECT count(*) FROM outgoing_mails") == 0
