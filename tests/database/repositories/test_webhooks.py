"""Outbox of webhook events and claims of deliveries."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from app.config import Settings
from app.database.connection import Database
from app.database.repositories.webhooks import delivery_queue, event_outbox
from app.database.repositories.webhooks.delivery_queue import MAX_LOGGED_ATTEMPTS, ClaimedDelivery, DeliveryAttempt
from app.database.repositories.webhooks.event_outbox import WebhookEvent
from tests.fixtures.database import Sql

LEASE = timedelta(seconds=60)
DELIVERED = DeliveryAttempt("delivered", {"n": 1}, response_status=204)


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    database = Database.from_settings(settings, application_name="test")
    yield database
    await database.close()


def endpoint(sql: Sql, *events: str, is_enabled: bool = True) -> int:
    return int(
        sql.value(
            "INSERT INTO webhook_endpoints (uuid, url, events, is_enabled)"
            " VALUES (gen_random_uuid(), 'https://example.com/hook', %s, %s) RETURNING id",
            [list(events or "*"), is_enabled],
        )
    )


async def emit(database: Database, **fields: Any) -> WebhookEvent:  # noqa: ANN401 - passed on
    event = WebhookEvent(**{"type": "user.updated", "data": {"a": 1}, **fields})
    async with database.autocommit() as connection:
        await event_outbox.emit(connection, event)
    return event


async def claim(database: Database, **choice: Any) -> list[ClaimedDelivery]:  # noqa: ANN401 - passed on
    async with database.autocommit() as connection:
        return await delivery_queue.claim(connection, lease=LEASE, **{"limit": 100, **choice})


async def record(database: Database, claimed: ClaimedDelivery, attempt: DeliveryAttempt) -> timedelta | None:
    async with database.autocommit() as connection:
        return await delivery_queue.record_attempt(connection, claimed, attempt)


def failed(*, delay: timedelta | None = timedelta(0)) -> DeliveryAttempt:
    attempt = DeliveryAttempt("failed", {"n": 0}, response_status=500, error_code="status")
    return attempt if delay is None else replace(attempt, outcome="postponed", delay=delay)


async def test_an_event_is_inserted_for_each_enabled_subscribed_endpoint(database: Database, sql: Sql) -> None:
    subscribed = {endpoint(sql), endpoint(sql, "user.updated"), endpoint(sql, "user.erased", "user.updated")}
    endpoint(sql, "user.erased", "turn.completed")
    endpoint(sql, is_enabled=False)
    event = await emit(database)
    rows = sql.rows("SELECT endpoint_id, event_id, type, data, status, attempts FROM webhook_deliveries")
    assert {row.pop("endpoint_id") for row in rows} == subscribed
    assert rows == [
        {"event_id": event.id, "type": "user.updated", "data": {"a": 1}, "status": "pending", "attempts": 0}
    ] * len(subscribed)


async def test_a_rolled_back_event_is_not_delivered(database: Database, sql: Sql) -> None:
    endpoint(sql)
    async with database.transaction() as session:
        await event_outbox.emit(session, WebhookEvent("user.updated", {}))
        await session.rollback()
    assert await claim(database) == []


async def test_an_event_with_an_existing_id_is_not_inserted_again(database: Database, sql: Sql) -> None:
    endpoint(sql)
    event = await emit(database)
    await emit(database, id=event.id)
    endpoint(sql)
    await emit(database, id=event.id)
    assert sql.value("SELECT count(*) FROM webhook_deliveries") == 2


async def test_a_claim_contains_event_and_endpoint(database: Database, sql: Sql) -> None:
    key = endpoint(sql)
    sql.do("UPDATE webhook_endpoints SET secret_generation = 3, previous_secret_until = now() + interval '1 h'")
    event = await emit(database)
    (claimed,) = await claim(database)
    (stored,) = sql.rows("SELECT id, created_at FROM webhook_deliveries")
    assert claimed == ClaimedDelivery(
        id=stored["id"],
        event_id=event.id,
        type="user.updated",
        data={"a": 1},
        created_at=stored["created_at"],
        attempts=1,
        attempt=1,
        endpoint_id=key,
        endpoint_uuid=sql.value("SELECT uuid FROM webhook_endpoints"),
        url="https://example.com/hook",
        uses_shared_secret=False,
        secret_generation=3,
        has_previous_secret=True,
    )
    sql.do("UPDATE webhook_endpoints SET previous_secret_until = now() - interval '1 s'")
    sql.do("UPDATE webhook_deliveries SET next_attempt_at = now()")
    (claimed,) = await claim(database)
    assert (claimed.attempts, claimed.has_previous_secret) == (2, False)


async def test_a_claim_lasts_for_its_lease(database: Database, sql: Sql) -> None:
    endpoint(sql)
    await emit(database)
    assert len(await claim(database)) == 1
    sql.do("UPDATE webhook_deliveries SET next_attempt_at = next_attempt_at - interval '59 s'")
    assert await claim(database) == []
    sql.do("UPDATE webhook_deliveries SET next_attempt_at = next_attempt_at - interval '2 s'")
    (again,) = await claim(database)
    assert again.attempts == 2


async def test_concurrent_claims_get_different_deliveries(database: Database, sql: Sql) -> None:
    for _ in range(3):
        endpoint(sql)
    for _ in range(10):
        await emit(database)
    claims = await asyncio.gather(*(claim(database, limit=4, per_endpoint=2) for _ in range(30)))
    claimed_ids = [delivery.id for batch in claims for delivery in batch]
    # A claim that meets locked rows may return nothing. Later claims get the rest.
    while batch := await claim(database):
        claimed_ids += [delivery.id for delivery in batch]
    assert sorted(claimed_ids) == sorted(set(claimed_ids))
    assert len(claimed_ids) == 30


async def test_a_long_queue_of_an_endpoint_does_not_delay_others(database: Database, sql: Sql) -> None:
    busy = endpoint(sql)
    for _ in range(10):
        await emit(database)
    idle = endpoint(sql)
    await emit(database)
    first = await claim(database, per_endpoint=2)
    assert sorted(delivery.endpoint_id for delivery in first) == [busy, busy, idle]
    assert len(await claim(database, limit=1)) == 1
    assert await claim(database, under_way=[busy]) == []
    assert len(await claim(database, per_endpoint=3, under_way=[busy, idle])) == 2


async def test_the_delivery_due_for_longest_is_claimed_first(database: Database, sql: Sql) -> None:
    endpoint(sql)
    await emit(database)
    early = await emit(database)
    sql.do("UPDATE webhook_deliveries SET next_attempt_at = now() - interval '1 h' WHERE event_id = %s", [early.id])
    (first,) = await claim(database)
    assert first.event_id == early.id


async def test_a_successful_attempt_completes_the_delivery(database: Database, sql: Sql) -> None:
    endpoint(sql)
    await emit(database)
    (claimed,) = await claim(database)
    assert await record(database, claimed, DELIVERED) == timedelta(0)
    assert sql.rows("SELECT status, next_attempt_at, response_status, error_code, log FROM webhook_deliveries") == [
        {"status": "delivered", "next_attempt_at": None, "response_status": 204, "error_code": None, "log": [{"n": 1}]}
    ]


async def test_a_postponed_delivery_is_claimed_again_and_a_failed_one_is_not(database: Database, sql: Sql) -> None:
    endpoint(sql)
    await emit(database)
    (claimed,) = await claim(database)
    await record(database, claimed, failed(delay=timedelta(minutes=5)))
    assert await claim(database) == []
    wait = sql.value("SELECT extract(epoch FROM next_attempt_at - now()) FROM webhook_deliveries")
    assert 290 < wait <= 300
    sql.do("UPDATE webhook_deliveries SET next_attempt_at = now()")
    (claimed,) = await claim(database)
    assert claimed.attempt == 2
    await record(database, claimed, failed(delay=None))
    assert sql.rows("SELECT status, next_attempt_at, response_status, error_code, log FROM webhook_deliveries") == [
        {
            "status": "failed",
            "next_attempt_at": None,
            "response_status": 500,
            "error_code": "status",
            "log": [{"n": 0}] * 2,
        }
    ]


async def test_an_attempt_with_an_expired_claim_is_not_recorded(database: Database, sql: Sql) -> None:
    endpoint(sql)
    await emit(database)
    (expired,) = await claim(database)
    sql.do("UPDATE webhook_deliveries SET next_attempt_at = now()")
    (claimed,) = await claim(database)
    assert await record(database, expired, failed(delay=None)) is None
    assert sql.rows("SELECT status, log FROM webhook_deliveries") == [{"status": "pending", "log": []}]
    assert sql.value("SELECT failing_since FROM webhook_endpoints") is None
    assert await record(database, claimed, DELIVERED) == timedelta(0)
    assert await record(database, claimed, failed()) is None
    assert sql.value("SELECT status FROM webhook_deliveries") == "delivered"


async def test_failing_since_lasts_from_the_first_failure_to_the_next_success(database: Database, sql: Sql) -> None:
    endpoint(sql)
    changed = sql.value("SELECT updated_at FROM webhook_endpoints")
    await emit(database)
    (claimed,) = await claim(database)
    assert await record(database, claimed, failed()) == timedelta(0)
    sql.do("UPDATE webhook_endpoints SET failing_since = failing_since - interval '1 h'")
    (claimed,) = await claim(database)
    failing_for = await record(database, claimed, failed())
    assert failing_for is not None
    assert timedelta(hours=1) <= failing_for < timedelta(hours=1, minutes=1)
    (claimed,) = await claim(database)
    await record(database, claimed, DELIVERED)
    assert sql.rows("SELECT failing_since, updated_at FROM webhook_endpoints") == [
        {"failing_since": None, "updated_at": changed}
    ]


async def test_the_log_has_the_last_attempts(database: Database, sql: Sql) -> None:
    endpoint(sql)
    await emit(database)
    for number in range(MAX_LOGGED_ATTEMPTS + 2):
        (claimed,) = await claim(database)
        await record(database, claimed, DeliveryAttempt("postponed", {"n": number}, delay=timedelta(0)))
    log = sql.value("SELECT log FROM webhook_deliveries")
    assert [entry["n"] for entry in log] == list(range(2, MAX_LOGGED_ATTEMPTS + 2))


async def test_deliveries_of_a_disabled_endpoint_wait_until_it_is_enabled(database: Database, sql: Sql) -> None:
    key = endpoint(sql)
    await emit(database)

    async def disable() -> UUID | None:
        async with database.transaction() as session:
            url = sql.value("SELECT url FROM webhook_endpoints")
            return await delivery_queue.disable(session, endpoint_id=key, url=url, reason="gone")

    assert await disable() == sql.value("SELECT uuid FROM webhook_endpoints WHERE disabled_reason = 'gone'")
    assert await disable() is None
    await emit(database)
    assert await claim(database) == []
    sql.do("UPDATE webhook_endpoints SET is_enabled = true, disabled_reason = NULL")
    assert len(await claim(database)) == 1


async def test_old_deliveries_are_purged_whatever_their_status(database: Database, sql: Sql) -> None:
    endpoint(sql)
    for _ in range(4):
        await emit(database)
    sql.do("UPDATE webhook_deliveries SET created_at = now() - interval '30 d' WHERE id < 4")
    sql.do("UPDATE webhook_deliveries SET status = 'delivered', next_attempt_at = NULL WHERE id = 1")

    async def purge() -> int:
        async with database.autocommit() as connection:
            return await delivery_queue.purge(age=timedelta(days=29)).delete_batch(connection, limit=2)

    assert [await purge(), await purge(), await purge()] == [2, 1, 0]
    assert sql.rows("SELECT id FROM webhook_deliveries") == [{"id": 4}]
