"""Retries of webhook deliveries, and endpoints that are disabled."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from app.database.connection import Database
from app.worker.webhook_delivery import (
    DISABLE_AFTER,
    DISABLE_REGARDLESS_AFTER,
    JITTER,
    MAX_RETRY_AFTER,
    RETRY_DELAYS,
    WebhookDeliveryJob,
)
from tests.fixtures.database import Sql
from tests.support.provider import Wire
from tests.support.receiver import Receiver, hangs, replies, sends
from tests.worker.webhook_delivery.deliveries import (
    SECRETS,
    assert_retry_delay,
    deliver,
    emit,
    make_due,
    make_endpoint,
    open_delivery_job,
    outcome,
    verify,
)

FAILURES = [
    pytest.param(replies(500), 500, "status", id="500"),
    pytest.param(replies(404), 404, "status", id="404"),
    pytest.param(replies(301, {"Location": "/elsewhere"}), 301, "status", id="301"),
    pytest.param(replies(304), 304, "status", id="304"),
    pytest.param(hangs(), None, "timeout", id="hangs"),
    pytest.param(sends(b"nonsense\r\n"), None, "protocol", id="speaks nonsense"),
    pytest.param(sends(b""), None, "protocol", id="hangs up"),
]


@pytest.fixture
async def short_timeout_delivery(pool: Database) -> AsyncIterator[WebhookDeliveryJob]:
    """Delivery job whose requests time out after two seconds."""
    async with open_delivery_job(pool, max_seconds=2) as delivery:
        yield delivery


async def test_an_event_is_delivered_after_three_failed_attempts(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    endpoint = make_endpoint(sql, receiver.url)
    receiver.script(replies(500), replies(503), replies(429))
    (event_id,) = await emit(pool)
    for number in range(3):
        assert await deliver(delivery) == 1
        assert await deliver(delivery) == 0  # it is not due
        assert_retry_delay(sql, RETRY_DELAYS[number])
        assert sql.value("SELECT failing_since IS NOT NULL FROM webhook_endpoints")
        make_due(sql)
    assert await deliver(delivery) == 1
    make_due(sql)
    assert await deliver(delivery) == 0
    assert len(receiver.requests) == 4
    assert len({request.body for request in receiver.requests}) == 1
    for request in receiver.requests:
        assert request.headers["webhook-id"] == event_id
        verify(request, SECRETS.own(endpoint.uuid, 1))
    assert outcome(sql) == {"status": "delivered", "attempts": 4, "response_status": 204, "error_code": None}
    assert sql.value("SELECT failing_since IS NULL FROM webhook_endpoints")


@pytest.mark.parametrize(("behaviour", "status", "code"), FAILURES)
async def test_any_response_but_2xx_is_retried(
    delivery: WebhookDeliveryJob,
    short_timeout_delivery: WebhookDeliveryJob,
    receiver: Receiver,
    pool: Database,
    sql: Sql,
    behaviour: Any,  # noqa: ANN401 - a case's
    status: int | None,
    code: str,
) -> None:
    make_endpoint(sql, receiver.url)
    receiver.script(behaviour)
    await emit(pool)
    await deliver(short_timeout_delivery if code == "timeout" else delivery)
    assert outcome(sql) == {"status": "pending", "attempts": 1, "response_status": status, "error_code": code}
    assert_retry_delay(sql, RETRY_DELAYS[0])
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        ("60", timedelta(seconds=60)),
        ("99999999999999999999", MAX_RETRY_AFTER),
        ("-5", RETRY_DELAYS[0]),
        ("soon", RETRY_DELAYS[0]),
        ("²", RETRY_DELAYS[0]),
    ],
)
async def test_retry_after_extends_the_back_off_up_to_a_maximum(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql, retry_after: str, expected: timedelta
) -> None:
    make_endpoint(sql, receiver.url)
    receiver.script(
        sends(f"HTTP/1.1 429 No\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))
    )
    await emit(pool)
    await deliver(delivery)
    assert_retry_delay(sql, expected)


async def test_a_410_response_of_an_earlier_url_does_not_disable_the_endpoint(
    delivery: WebhookDeliveryJob, receiver: Receiver, other_receiver: Receiver, pool: Database, sql: Sql
) -> None:
    make_endpoint(sql, receiver.url)

    async def gone_after_a_change(wire: Wire) -> None:
        sql.do("UPDATE webhook_endpoints SET url = %s", [other_receiver.url])
        await replies(410)(wire)

    receiver.script(gone_after_a_change)
    await emit(pool)
    await deliver(delivery)
    assert outcome(sql)["response_status"] == 410
    assert sql.rows("SELECT is_enabled, disabled_reason FROM webhook_endpoints") == [
        {"is_enabled": True, "disabled_reason": None}
    ]
    assert sql.value("SELECT count(*) FROM audit_log") == 0
    await emit(pool)
    assert await deliver(delivery) == 1
    assert len(other_receiver.requests) == 1


async def test_a_410_response_disables_the_endpoint(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    endpoint = make_endpoint(sql, receiver.url)
    receiver.script(replies(410))
    await emit(pool)
    await deliver(delivery)
    assert outcome(sql) == {"status": "failed", "attempts": 1, "response_status": 410, "error_code": "status"}
    (row,) = sql.rows("SELECT is_enabled, disabled_reason FROM webhook_endpoints")
    assert row == {"is_enabled": False, "disabled_reason": "gone"}
    (entry,) = sql.rows("SELECT action, actor_id, target_id, outcome, details, ip FROM audit_log")
    assert entry == {
        "action": "webhook.disabled",
        "actor_id": None,
        "target_id": endpoint.uuid,
        "outcome": "done",
        "details": {"reason": "gone"},
        "ip": None,
    }


async def test_deliveries_of_a_disabled_endpoint_stay_pending(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    make_endpoint(sql, receiver.url)
    await emit(pool, 3)
    sql.do("UPDATE webhook_endpoints SET is_enabled = false")
    assert await deliver(delivery) == 0
    sql.do("UPDATE webhook_endpoints SET is_enabled = true")
    assert await deliver(delivery) == 3


@pytest.mark.parametrize("is_failing", [True, False])
async def test_the_last_attempt_fails_the_delivery_and_disables_a_failing_endpoint(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql, *, is_failing: bool
) -> None:
    make_endpoint(sql, receiver.url)
    receiver.always(replies(500))
    await emit(pool)
    for number in range(len(RETRY_DELAYS)):
        await deliver(delivery)
        assert outcome(sql)["status"] == "pending"
        assert outcome(sql)["attempts"] == number + 1
        make_due(sql)
    sql.do(
        "UPDATE webhook_endpoints SET failing_since = now() - %s",
        [DISABLE_AFTER if is_failing else DISABLE_AFTER - timedelta(minutes=1)],
    )
    await deliver(delivery)
    assert outcome(sql)["status"] == "failed"
    assert len(receiver.requests) == 11
    assert sql.value("SELECT disabled_reason FROM webhook_endpoints") == ("failing" if is_failing else None)
    assert sql.value("SELECT count(*) FROM audit_log WHERE action = 'webhook.disabled'") == int(is_failing)


@pytest.mark.parametrize("is_over", [True, False])
async def test_an_endpoint_that_fails_for_two_days_is_disabled_at_any_attempt(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql, *, is_over: bool
) -> None:
    make_endpoint(sql, receiver.url)
    failing_for = DISABLE_REGARDLESS_AFTER if is_over else DISABLE_REGARDLESS_AFTER - timedelta(minutes=1)
    sql.do("UPDATE webhook_endpoints SET failing_since = now() - %s", [failing_for])
    receiver.always(replies(500))
    await emit(pool)
    await deliver(delivery)
    assert outcome(sql)["status"] == "pending"
    assert sql.value("SELECT disabled_reason FROM webhook_endpoints") == ("failing" if is_over else None)
    assert sql.value("SELECT count(*) FROM audit_log WHERE action = 'webhook.disabled'") == int(is_over)


def test_attempts_extend_over_a_day() -> None:
    assert timedelta(hours=23) < sum(RETRY_DELAYS, timedelta()) < timedelta(hours=25)
    # After the last attempt an endpoint has failed for long enough to be disabled, with the shortest pauses.
    total = sum(RETRY_DELAYS, timedelta())
    assert total * (1 - JITTER) > DISABLE_AFTER
    # No endpoint is disabled earlier while a single event still has attempts left, with the longest pauses.
    assert total * (1 + JITTER) + len(RETRY_DELAYS) * MAX_RETRY_AFTER < DISABLE_REGARDLESS_AFTER


async def test_a_redelivery_restarts_the_attempts(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    make_endpoint(sql, receiver.url)
    (event_id,) = await emit(pool)
    sql.do("UPDATE webhook_deliveries SET attempts = 11, earlier_attempts = 11")
    receiver.script(replies(500))
    await deliver(delivery)
    assert outcome(sql)["status"] == "pending"
    assert_retry_delay(sql, RETRY_DELAYS[0])
    make_due(sql)
    await deliver(delivery)
    assert [request.headers["webhook-id"] for request in receiver.requests] == [event_id] * 2
