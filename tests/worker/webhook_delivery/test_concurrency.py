"""Concurrent webhook deliveries, leases, outages and shutdown."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.repositories.webhooks import delivery_queue
from app.worker import webhook_delivery
from app.worker.webhook_delivery import MAX_CONCURRENT_PER_ENDPOINT, WebhookDeliveryJob
from tests.fixtures.database import Sql
from tests.support.receiver import Receiver, hangs, held
from tests.support.waiting import eventually
from tests.worker.webhook_delivery.deliveries import deliver, emit, make_due, make_endpoint, open_delivery_job, outcome


async def test_a_hanging_receiver_does_not_delay_others(
    delivery: WebhookDeliveryJob,
    receiver: Receiver,
    other_receiver: Receiver,
    pool: Database,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_delivery, "_STOP_TIMEOUT", 0)
    receiver.always(hangs())
    make_endpoint(sql, receiver.url)
    make_endpoint(sql, other_receiver.url)
    await emit(pool, 50)
    delivery_task = asyncio.create_task(deliver(delivery))
    await eventually(lambda: len(other_receiver.requests) == 50)
    await eventually(lambda: delivery.stats()["under_way"] == MAX_CONCURRENT_PER_ENDPOINT)
    # The first of the hanging deliveries are still running.
    assert len(receiver.requests) == receiver.connections == MAX_CONCURRENT_PER_ENDPOINT
    delivery_task.cancel()
    await asyncio.gather(delivery_task, return_exceptions=True)


async def test_no_database_connection_is_held_during_a_request(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    gate = threading.Event()
    receiver.script(held(gate))
    make_endpoint(sql, receiver.url)
    await emit(pool)
    delivery_task = asyncio.create_task(deliver(delivery))
    await asyncio.to_thread(receiver.wait_for_requests, 1)
    assert await asyncio.to_thread(sql.value, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%%'") == 0
    # Between the claim and its outcome there is the look for more, twice a second.
    await eventually(lambda: pool.pool_stats()["in_use"] == 0)
    assert not delivery_task.done()
    gate.set()
    assert await delivery_task == 1


async def test_two_concurrent_workers_deliver_each_event_once(
    receiver: Receiver, other_receiver: Receiver, pool: Database, settings: Settings, sql: Sql
) -> None:
    receivers, gate = (receiver, other_receiver), threading.Event()
    for target in receivers:
        target.always(held(gate))
        make_endpoint(sql, target.url)
    events = await emit(pool, 150)
    another = Database.from_settings(settings, application_name="test")
    async with open_delivery_job(pool) as first, open_delivery_job(another) as second:
        delivery_task = asyncio.gather(deliver(first), deliver(second))
        # Nobody is done before both have begun.
        await eventually(lambda: all(len(target.requests) == 2 * MAX_CONCURRENT_PER_ENDPOINT for target in receivers))
        gate.set()
        delivered_counts = await delivery_task
    await another.close()
    assert sum(delivered_counts) == 300
    assert min(delivered_counts) > 0
    for target in receivers:
        assert sorted(request.headers["webhook-id"] for request in target.requests) == sorted(events)
    assert sql.value("SELECT count(*) FROM webhook_deliveries WHERE status = 'delivered' AND attempts = 1") == 300


async def test_storing_an_outcome_is_retried_during_an_outage(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint(sql, receiver.url)
    await emit(pool)
    monkeypatch.setattr(webhook_delivery, "_STORE_RETRY_DELAY", 0.01)
    record_attempt = delivery_queue.record_attempt
    failures = iter([DatabaseUnavailableError()] * 3)

    async def fail_three_times(*arguments: Any) -> timedelta | None:  # noqa: ANN401 - passed on
        for failure in failures:
            raise failure
        return await record_attempt(*arguments)

    monkeypatch.setattr(delivery_queue, "record_attempt", fail_three_times)
    await deliver(delivery)
    assert len(receiver.requests) == 1
    assert outcome(sql)["status"] == "delivered"


async def test_a_suspended_process_does_not_post_after_its_lease(
    receiver: Receiver, pool: Database, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_endpoint(sql, receiver.url)
    await emit(pool)
    claim = delivery_queue.claim

    async def claim_and_pause(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - passed on
        claimed = await claim(*arguments, **more)
        await asyncio.sleep(0.2)
        return claimed

    monkeypatch.setattr(delivery_queue, "claim", claim_and_pause)
    async with open_delivery_job(pool, max_seconds=0.1) as delivery:
        assert await delivery.deliver_due() == 1
    assert receiver.connections == 0
    assert outcome(sql)["status"] == "pending"
    make_due(sql)
    monkeypatch.undo()
    async with open_delivery_job(pool) as delivery:
        await deliver(delivery)
    assert len(receiver.requests) == 1


async def test_an_unexpected_error_counts_as_a_failed_attempt(
    delivery: WebhookDeliveryJob,
    pool: Database,
    sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_endpoint(sql, "https://example.com")
    await emit(pool)

    def fail(*_: object) -> bytes:
        raise RuntimeError("canary")

    monkeypatch.setattr(webhook_delivery, "serialize_event", fail)
    await deliver(delivery)
    assert outcome(sql) == {"status": "pending", "attempts": 1, "response_status": None, "error_code": "internal_error"}
    assert "unexpected error in webhook delivery" in caplog.text


async def test_closing_waits_for_running_deliveries_and_leaves_the_rest_to_their_lease(
    receiver: Receiver, pool: Database, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_delivery, "_RUN_SECONDS", 0.0)
    monkeypatch.setattr(webhook_delivery, "_STOP_TIMEOUT", 2.0)
    make_endpoint(sql, receiver.url)
    await emit(pool, 2)
    gate = threading.Event()
    receiver.script(held(gate), hangs())
    async with open_delivery_job(pool) as delivery:
        await delivery.deliver_due()
        await delivery.deliver_due()
        await asyncio.to_thread(receiver.wait_for_requests, 2)
        asyncio.get_running_loop().call_later(0.05, gate.set)
    assert [row["status"] for row in sql.rows("SELECT status FROM webhook_deliveries ORDER BY status")] == [
        "delivered",
        "pending",
    ]
    assert await asyncio.to_thread(sql.value, "SELECT max(next_attempt_at) > now() FROM webhook_deliveries")
    make_due(sql)
    async with open_delivery_job(pool) as delivery:
        await deliver(delivery)
    assert sql.value("SELECT count(*) FROM webhook_deliveries WHERE status = 'delivered'") == 2
