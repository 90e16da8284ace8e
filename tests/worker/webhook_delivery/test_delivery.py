"""Webhook requests: signature, body, receivers that are slow or forbidden, and the log of attempts."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest
from standardwebhooks import WebhookVerificationError

from app.core.public_addresses import AllowedHosts
from app.core.webhook_secrets import WebhookSecrets
from app.database.connection import Database
from app.database.repositories.webhooks import endpoints
from app.services.http.ssrf_safe_client import SsrfSafeClient
from app.worker.webhook_delivery import WebhookDeliveryJob
from tests.fixtures.database import Sql
from tests.support.receiver import Receiver, floods, replies
from tests.support.waiting import LONGEST_WAIT
from tests.worker.webhook_delivery.deliveries import (
    SECRETS,
    SHARED_SECRET,
    deliver,
    emit,
    make_due,
    make_endpoint,
    open_delivery_job,
    outcome,
    verify,
)


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
    for secret in (SHARED_SECRET, SECRETS.own(uuid4(), 1), SECRETS.own(endpoint.uuid, 2)):
        with pytest.raises(WebhookVerificationError):
            verify(request, secret)


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


async def test_secrets_of_several_rotations_sign_until_their_own_expiry(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    endpoint = make_endpoint(sql, receiver.url)
    for hours in (3, 0, 1, 2):  # one after the other
        async with pool.transaction() as session:
            row = await endpoints.find(session, endpoint.uuid, for_change=True)
            assert row is not None
            assert await endpoints.rotate_secret(session, row, grace=timedelta(hours=hours), max_previous=5)
    until = {1: 3, 2: 0, 3: 1, 4: 2, 5: 99}  # hours by generation
    for passed in (0, 1, 2, 3):
        receiver.requests.clear()
        await emit(pool)
        await deliver(delivery)
        (request,) = receiver.requests
        for generation, hours in until.items():
            if hours > passed:
                verify(request, SECRETS.own(endpoint.uuid, generation))
            else:
                with pytest.raises(WebhookVerificationError):
                    verify(request, SECRETS.own(endpoint.uuid, generation))
        assert len(request.headers["webhook-signature"].split()) == sum(hours > passed for hours in until.values())
        sql.do(
            "UPDATE webhook_endpoints SET previous_secret_until = previous_secret_until - interval '1 hour',"
            " earlier_secrets_until = (SELECT coalesce(jsonb_object_agg(key, value::timestamptz - interval '1 hour'),"
            " '{}') FROM jsonb_each_text(earlier_secrets_until))"
        )


async def test_the_shared_secret_signs_if_the_endpoint_uses_it(
    delivery: WebhookDeliveryJob, receiver: Receiver, pool: Database, sql: Sql
) -> None:
    make_endpoint(sql, receiver.url, uses_shared_secret=True)
    await emit(pool)
    await deliver(delivery)
    verify(receiver.requests[0], SHARED_SECRET)


async def test_nothing_is_sent_without_a_secret(pool: Database, receiver: Receiver, sql: Sql) -> None:
    make_endpoint(sql, receiver.url, uses_shared_secret=True)
    await emit(pool)
    async with open_delivery_job(pool, secrets=WebhookSecrets.from_secret("k")) as delivery:
        await deliver(delivery)
    assert receiver.connections == 0
    assert outcome(sql)["error_code"] == "no_secret"


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
