"""Endpoints, events and outcomes of webhook deliveries."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from standardwebhooks import Webhook

from app.core.public_addresses import AllowedHosts
from app.core.webhook_secrets import WebhookSecrets
from app.database.connection import Database
from app.database.repositories.webhooks import event_outbox
from app.database.repositories.webhooks.event_outbox import WebhookEvent
from app.services.http.ssrf_safe_client import SsrfSafeClient
from app.worker.webhook_delivery import JITTER, WebhookDeliveryJob
from tests.fixtures.database import Sql
from tests.support.receiver import Request
from tests.support.waiting import LONGEST_WAIT

SHARED_SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SECRETS = WebhookSecrets.from_secret("a key of the test run", (SHARED_SECRET,))


@asynccontextmanager
async def open_delivery_job(
    database: Database, *, max_seconds: float = LONGEST_WAIT, secrets: WebhookSecrets = SECRETS
) -> AsyncIterator[WebhookDeliveryJob]:
    client = SsrfSafeClient(AllowedHosts.parse(["127.0.0.1"]))
    delivery = WebhookDeliveryJob(database, client, secrets, timeout=max_seconds)
    yield delivery
    await delivery.close()
    await client.aclose()


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


def assert_retry_delay(sql: Sql, expected_delay: timedelta) -> None:
    """Check the delay between the last attempt and the next one."""
    (row,) = sql.rows(
        "SELECT next_attempt_at - (log -> -1 ->> 'at')::timestamptz AS since_attempt, next_attempt_at - now() AS left"
        " FROM webhook_deliveries"
    )
    assert expected_delay * (1 - JITTER) <= row["since_attempt"]
    assert row["left"] <= expected_delay * (1 + JITTER)


def verify(request: Request, secret: str) -> dict[str, Any]:
    """Verify and return an event like a receiver."""
    event = Webhook(secret).verify(request.body, request.headers)
    assert isinstance(event, dict)
    return event
