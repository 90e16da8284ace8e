"""Delivery of webhook events from the outbox to receivers."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.core.public_addresses import AllowedHosts
from app.core.webhook_secrets import WebhookSecrets
from app.database.connection import Database
from app.database.repositories.webhooks import delivery_queue, event_outbox
from app.database.repositories.webhooks.event_outbox import WebhookEvent
from app.services.http.ssrf_safe_client import SsrfSafeClient
from app.worker import webhook_delivery
from app.worker.webhook_delivery import (
    DISABLE_AFTER,
    DISABLE_REGARDLESS_AFTER,
    JITTER,
    MAX_CONCURRENT_PER_ENDPOINT,
    MAX_RETRY_AFTER,
    RETRY_DELAYS,
    WebhookDeliveryJob,
)
from tests.fixtures.database import Sql
from tests.support.receiver import Receiver, Request, floods, hangs, held, replies, running_receiver, sends
from tests.support.waiting import LONGEST_WAIT, eventually

SHARED = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SECRETS = WebhookSecrets.from_secret("a key of the test run", (SHARED,))
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
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture
def other_receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each run of the job last until everything has been delivered, however slow the machine is."""
    monkeypatch.setattr(webhook_delivery, "_RUN_SECONDS", LONGEST_WAIT)


@asynccontextmanager
async def deliverer(
    database: Database, *, max_seconds: float = LONGEST_WAIT, secrets: WebhookSecrets = SECRETS
) -> AsyncIterator[WebhookDeliveryJob]:
    client = SsrfSafeClient(AllowedHosts.parse(["127.0.0.1"]))
    delivery = WebhookDeliveryJob(database, client, secrets, timeout=max_seconds)
    yield delivery
    await delivery.close()
    await client.aclose()


@pytest.fixture
async def delivery(pool: Database) -> AsyncIterator[WebhookDeliveryJob]:
    async with deliverer(pool) as delivery:
        yield delivery


@pytest.fixture
async def impatient(pool: Database) -> AsyncIterator[WebhookDeliveryJob]:
    """Gives receivers two seconds."""
    async with deliverer(pool, max_seconds=2) as delivery:
        yield delivery


@dataclass(frozen=True)
class Endpoint:
    id: int
    uuid: UUID


def make_endpoint(sql: Sql, url: str, *, uses_shared_secret: bool = False) -> Endpoint:
    (row,) = sql.rows(
        "INSERT INTO webhook_endpoints (uuid, url, events, uses_shared_secret)"
        " VALUES (%s, %s, '{*}', %s) RETURNING id, uuid",
        [uuid4(), url, uses_shared_secret],
    )
    return Endpoint(**row)


async def emit(database: Database, count: int = 1, **data: object) -> list[str]:
    """Emit `count` events; return their ids."""
    events = [WebhookEvent("user.updated", data or {"user_id": "ü"}) for _ in range(count)]
    async with database.autocommit() as connection:
        for event in events:
            await event_outbox.emit(connection, event)
    return [str(event.id) for event in events]


async def deliver(delivery: WebhookDeliveryJob) -> int:
    """Deliver all due events; return their number."""
    started = 0
    while count := await delivery.deliver_due():
        started += count
    return started


def make_due(sql: Sql) -> None:
    sql.do("UPDATE webhook_deliveries SET next_attempt_at = now() WHERE status = 'pending'")


def outcome(sql: Sql) -> dict[str, Any]:
    (row,) = sql.rows("SELECT status, attempts, response_status, error_code FROM webhook_deliveries")
    return row


def assert_pause(sql: Sql, usual: timedelta) -> None:
    """Check the pause between the last attempt and the next one."""
    (row,) = sql.rows(
        "SELECT next_attempt_at - (log -> -1 ->> 'at')::timestamptz AS since_attempt, next_attempt_at - now() AS left"
        " FROM webhook_deliveries"
    )
    assert usual * (1 - JITTER) <= row["since_attempt"]
    assert row["left"] <= usual * (1 + JITTER)


def verify(request: Request, secret: str) -> dict[str, Any]:
    """Verify and return an event like a receiver."""
    event = Webhook(secret).verify(request.body, request.headers)
    assert isinstance(event, dict)
    return event


async def test_an_event_is_posted_once_with_a_signature(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    endpoint = make_endpoint(sql, receiver.url)
    (event_id,) = await emit(pool)
    assert await deliver(delivery) == 1
    assert await deliver(delivery) == 0
    (request,) = receiver.requests
    event = verify(request, SECRETS.own(endpoint.uuid, 1))
    assert event == {
        "type": "user.updated",
        "timestamp": sql.value("SELECT created_at FROM webhook_deliveries").isoformat(),
        "data": {"user_id": "ü"},
    }
    assert request.line == "POST /hook HTTP/1.1"
    assert request.headers["webhook-id"] == event_id
    assert request.headers["content-type"] == "application/json"
    assert outcome(sql) == {"status": "delivered", "attempts": 1, "response_status": 204, "error_code": None}
    for secret in (SHARED, SECRETS.own(uuid4(), 1), SECRETS.own(endpoint.uuid, 2)):
        with pytest.raises(WebhookVerificationError):
            verify(request, secret)


async def test_an_event_is_delivered_after_three_failed_attempts(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    endpoint = make_endpoint(sql, receiver.url)
    receiver.script(replies(500), replies(503), replies(429))
    (event_id,) = await emit(pool)
    for number in range(3):
        assert await deliver(delivery) == 1
        assert await deliver(delivery) == 0  # it is not due
        assert_pause(sql, RETRY_DELAYS[number])
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
    impatient: WebhookDeliveryJob,
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
    await deliver(impatient if code == "timeout" else delivery)
    assert outcome(sql) == {"status": "pending", "attempts": 1, "response_status": status, "error_code": code}
    assert_pause(sql, RETRY_DELAYS[0])
    assert len(receiver.requests) == 1


async def test_an_endless_response_body_counts_as_delivered(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    make_endpoint(sql, receiver.url)
    receiver.script(floods(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", b"x" * 65_536))
    await emit(pool)
    await deliver(delivery)
    assert outcome(sql)["status"] == "delivered"


async def test_internal_addresses_are_never_connected_to(pool: Database, receiver: Receiver, sql: Sql) -> None:
    make_endpoint(sql, receiver.url)
    await emit(pool)
    delivery = WebhookDeliveryJob(pool, SsrfSafeClient(AllowedHosts()), SECRETS, timeout=5)
    await deliver(delivery)
    assert outcome(sql) == {
        "status": "pending",
        "attempts": 1,
        "response_status": None,
        "error_code": "address_refused",
    }
    assert receiver.connections == 0


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
    assert_pause(sql, expected)


async def test_both_secrets_sign_during_a_rotation(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    endpoint = make_endpoint(sql, receiver.url)
    sql.do("UPDATE webhook_endpoints SET secret_generation = 2, previous_secret_until = now() + interval '1 hour'")
    await emit(pool)
    await deliver(delivery)
    sql.do("UPDATE webhook_endpoints SET previous_secret_until = now()")
    await emit(pool)
    await deliver(delivery)
    during, afterwards = receiver.requests
    old, new = SECRETS.own(endpoint.uuid, 1), SECRETS.own(endpoint.uuid, 2)
    verify(during, old)
    verify(during, new)
    verify(afterwards, new)
    with pytest.raises(WebhookVerificationError):
        verify(afterwards, old)


async def test_the_shared_secret_signs_if_the_endpoint_uses_it(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    make_endpoint(sql, receiver.url, uses_shared_secret=True)
    await emit(pool)
    await deliver(delivery)
    verify(receiver.requests[0], SHARED)


async def test_nothing_is_sent_without_a_secret(pool: Database, receiver: Receiver, sql: Sql) -> None:
    make_endpoint(sql, receiver.url, uses_shared_secret=True)
    await emit(pool)
    async with deliverer(pool, secrets=WebhookSecrets.from_secret("k")) as delivery:
        await deliver(delivery)
    assert receiver.connections == 0
    assert outcome(sql)["error_code"] == "no_secret"


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
    assert_pause(sql, RETRY_DELAYS[0])
    make_due(sql)
    await deliver(delivery)
    assert [request.headers["webhook-id"] for request in receiver.requests] == [event_id] * 2


async def test_the_log_contains_headers_of_both_sides_without_secrets(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    make_endpoint(sql, f"{receiver.url}?token=canary")
    secret = {"Set-Cookie": "a=canary", "X-Api-Key": "canary", "WWW-Authenticate": "canary", "X-Csrf-Token": "canary"}
    receiver.script(
        replies(302, {"Location": "https://example.com/login?code=canary", "X-Long": "x" * 10_000} | secret),
        replies(204),
    )
    (event_id,) = await emit(pool, secret="in the body only")
    await deliver(delivery)
    make_due(sql)
    await deliver(delivery)
    first, second = sql.value("SELECT log FROM webhook_deliveries")
    assert (first["attempt"], first["error_code"], first["response"]["status"]) == (1, "status", 302)
    assert first["request"]["method"] == "POST"
    assert first["request"]["headers"]["webhook-id"] == event_id
    assert set(first["request"]["headers"]) == {"content-type", "user-agent", "webhook-id", "webhook-timestamp"}
    headers = dict(first["response"]["headers"])
    assert headers["Location"] == "https://example.com/login"
    assert headers["X-Long"] == "x" * 200
    assert {headers[name] for name in secret} == {"(removed)"}
    assert (second["attempt"], second["error_code"], second["response"]["status"]) == (2, None, 204)
    assert first["at"] < second["at"]
    assert 0 <= first["duration_ms"] < LONGEST_WAIT * 1000
    text = json.dumps([first, second])
    assert "canary" not in text
    assert "in the body only" not in text
    assert receiver.requests[0].headers["webhook-signature"] not in text


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
    work = asyncio.create_task(deliver(delivery))
    await eventually(lambda: len(other_receiver.requests) == 50)
    await eventually(lambda: delivery.stats() == {"under_way": MAX_CONCURRENT_PER_ENDPOINT})
    # The first of the hanging deliveries are still running.
    assert len(receiver.requests) == receiver.connections == MAX_CONCURRENT_PER_ENDPOINT
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_no_database_connection_is_held_during_a_request(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    gate = threading.Event()
    receiver.script(held(gate))
    make_endpoint(sql, receiver.url)
    await emit(pool)
    work = asyncio.create_task(deliver(delivery))
    await asyncio.to_thread(receiver.wait_for_requests, 1)
    assert await asyncio.to_thread(sql.value, "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%%'") == 0
    # Between the claim and its outcome there is the look for more, twice a second.
    await eventually(lambda: pool.pool_stats()["in_use"] == 0)
    assert not work.done()
    gate.set()
    assert await work == 1


async def test_two_concurrent_workers_deliver_each_event_once(
    receiver: Receiver, other_receiver: Receiver, pool: Database, settings: Settings, sql: Sql
) -> None:
    receivers, gate = (receiver, other_receiver), threading.Event()
    for one in receivers:
        one.always(held(gate))
        make_endpoint(sql, one.url)
    events = await emit(pool, 150)
    another = Database.from_settings(settings, application_name="test")
    async with deliverer(pool) as first, deliverer(another) as second:
        work = asyncio.gather(deliver(first), deliver(second))
        # Nobody is done before both have begun.
        await eventually(lambda: all(len(one.requests) == 2 * MAX_CONCURRENT_PER_ENDPOINT for one in receivers))
        gate.set()
        shares = await work
    await another.close()
    assert sum(shares) == 300
    assert min(shares) > 0
    for one in receivers:
        assert sorted(request.headers["webhook-id"] for request in one.requests) == sorted(events)
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
    async with deliverer(pool, max_seconds=0.1) as delivery:
        assert await delivery.deliver_due() == 1
    assert receiver.connections == 0
    assert outcome(sql)["status"] == "pending"
    make_due(sql)
    monkeypatch.undo()
    async with deliverer(pool) as delivery:
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
    async with deliverer(pool) as delivery:
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
    async with deliverer(pool) as delivery:
        await deliver(delivery)
    assert sql.value("SELECT count(*) FROM webhook_deliveries WHERE status = 'delivered'") == 2
