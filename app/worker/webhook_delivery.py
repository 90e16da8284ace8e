"""Webhook delivery job: posts outbox events to endpoints at least once, with back-off between attempts.

A lease in PostgreSQL prevents two workers from delivering the same event at the same time.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from app.config import Settings
from app.core.background_tasks import stop_tasks
from app.core.exceptions import DatabaseUnavailableError
from app.core.public_addresses import AllowedHosts
from app.core.webhook_secrets import MissingSecretError, WebhookSecrets
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import delivery_queue
from app.database.repositories.webhooks.delivery_queue import ClaimedDelivery, DeliveryAttempt
from app.database.retry_until_available import retry_until_available
from app.services.http.ssrf_safe_client import OutgoingRequestError, ResponseHead, SsrfSafeClient
from app.services.webhooks.payload import (
    redacted_request_headers,
    redacted_response_headers,
    serialize_event,
    signed_headers,
)

logger = logging.getLogger(__name__)

RETRY_DELAYS = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=2),
    timedelta(hours=4),
    timedelta(hours=6),
    timedelta(hours=10),
)
"""Back-off: pauses after failed attempts. The eleventh and last attempt is about 24 hours after the first."""
JITTER = 0.2
"""Fraction of a pause by which it is randomly shortened or lengthened, so that retries do not arrive together."""
MAX_RETRY_AFTER = timedelta(hours=1)
"""Maximum pause that a receiver can request with `Retry-After`."""
DISABLE_AFTER = timedelta(hours=18)
"""An endpoint that has failed for this long is disabled when the last attempt of an event fails."""
DISABLE_REGARDLESS_AFTER = timedelta(hours=48)
"""An endpoint that has failed for this long is disabled at any failed attempt.

In a long queue an event may reach its last attempt much later than `DISABLE_AFTER`.
"""
LEASE_MARGIN = timedelta(seconds=15)
"""Part of a lease that is reserved for everything but the request to the receiver."""
MAX_CONCURRENT_PER_ENDPOINT = 4
"""Maximum number of concurrent deliveries to one endpoint in this process."""
MAX_CONCURRENT = 50 * MAX_CONCURRENT_PER_ENDPOINT
"""Maximum number of concurrent deliveries in this process: enough for the maximum of 50 endpoints."""

_RUN_SECONDS = 3.0
"""Duration in seconds after which a run claims no further deliveries."""
_POLL_INTERVAL = 0.5
"""Maximum pause in seconds between two claims while deliveries are running."""
_STOP_TIMEOUT = 5.0
"""Timeout in seconds for running deliveries when the worker stops."""
_STORE_RETRY_DELAY = 1.0
"""Pause in seconds before storing an outcome is retried."""
_SYSTEM_ORIGIN = RequestOrigin(ip=None, user_agent=None, request_id=None)


@dataclass(frozen=True, slots=True)
class WebhookDeliveryJob:
    """Job that claims due deliveries from the outbox and posts them concurrently.

    The limit per endpoint keeps a slow receiver from delaying the others.
    """

    database: Database
    client: SsrfSafeClient
    secrets: WebhookSecrets
    timeout: float
    """Timeout of the request to a receiver in seconds."""
    retry_delays: Sequence[timedelta] = RETRY_DELAYS
    _running: dict[asyncio.Task[None], int] = field(default_factory=dict)
    """Running deliveries, with the internal key of their endpoint."""
    _attempts: Counter[str] = field(default_factory=lambda: Counter(delivered=0, postponed=0, failed=0))
    """Attempts of this process by outcome."""

    async def deliver_due(self) -> int:
        """Start due deliveries for up to `_RUN_SECONDS`; return their number. They may run on after the call.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable. Claimed deliveries are due again after their lease.

        """
        started = 0
        until = time.monotonic() + _RUN_SECONDS
        while True:
            started += await self._start_due()
            if not self._running or time.monotonic() > until:
                return started
            await asyncio.wait(self._running, timeout=_POLL_INTERVAL, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Wait up to `_STOP_TIMEOUT` for running deliveries; cancel the rest, which are due again after their lease."""
        await stop_tasks(self._running, grace=_STOP_TIMEOUT)

    def stats(self) -> dict[str, int]:
        """Return the number of running deliveries, and of attempts by outcome, for the heartbeat."""
        return {"under_way": len(self._running), **self._attempts}

    async def _start_due(self) -> int:
        """Claim due deliveries up to the concurrency limit and start them; return their number."""
        capacity = MAX_CONCURRENT - len(self._running)
        if not capacity:
            return 0
        claimed_at = time.monotonic()
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            claimed = await delivery_queue.claim(
                connection,
                lease=timedelta(seconds=self.timeout) + LEASE_MARGIN,
                limit=capacity,
                per_endpoint=MAX_CONCURRENT_PER_ENDPOINT,
                under_way=list(self._running.values()),
            )
        for delivery in claimed:
            task = asyncio.create_task(self._deliver(delivery, claimed_at))
            self._running[task] = delivery.endpoint_id
            task.add_done_callback(self._running.pop)
        return len(claimed)

    async def _deliver(self, delivery: ClaimedDelivery, claimed_at: float) -> None:
        try:
            # Measured from the claim: a process that was suspended must not post after its lease has expired.
            remaining = self.timeout - (time.monotonic() - claimed_at)
            if remaining > 0:
                attempt = await self._attempt(delivery, max_seconds=remaining)
                await self._record_attempt(
                    delivery, attempt, until=claimed_at + self.timeout + LEASE_MARGIN.total_seconds()
                )
        except DatabaseUnavailableError:
            pass  # logged by the job; the event is delivered again after its lease
        except Exception:
            logger.exception("unexpected error in webhook delivery")

    async def _attempt(self, delivery: ClaimedDelivery, *, max_seconds: float) -> DeliveryAttempt:
        started = time.monotonic()
        now = datetime.now(UTC)
        log: dict[str, object] = {"at": now.isoformat(), "attempt": delivery.attempt}
        response: ResponseHead | None = None
        error: str | None = None
        try:
            body = serialize_event(delivery)
            headers = signed_headers(delivery, body, secrets=self._signing_secrets(delivery), now=now)
            log["request"] = redacted_request_headers(headers)
            response = await self.client.post(delivery.url, headers=headers, content=body, max_seconds=max_seconds)
        except MissingSecretError:
            error = "no_secret"
        except OutgoingRequestError as failure:
            error = failure.reason
        except Exception:
            # Stored like any other failure, so that the number of attempts stays limited.
            logger.exception("unexpected error in webhook delivery")
            error = "internal_error"
        else:
            log["response"] = redacted_response_headers(response)
            if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
                error = "status"
        log |= {"duration_ms": round((time.monotonic() - started) * 1000), "error_code": error}
        return self._classify(delivery, response, error, log)

    def _signing_secrets(self, delivery: ClaimedDelivery) -> tuple[str, ...]:
        return self.secrets.signing(
            delivery.endpoint_uuid,
            generation=delivery.secret_generation,
            has_previous=delivery.has_previous_secret,
            uses_shared=delivery.uses_shared_secret,
            earlier_generations=delivery.earlier_secret_generations,
        )

    def _classify(
        self, delivery: ClaimedDelivery, response: ResponseHead | None, error: str | None, log: dict[str, object]
    ) -> DeliveryAttempt:
        status = response.status if response else None
        if error is None:
            return DeliveryAttempt("delivered", log, response_status=status)
        if status == HTTPStatus.GONE or delivery.attempt > len(self.retry_delays):
            return DeliveryAttempt("failed", log, response_status=status, error_code=error)
        factor = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
        pause = self.retry_delays[delivery.attempt - 1] * factor
        delay = max(pause, _retry_after(response))
        return DeliveryAttempt("postponed", log, response_status=status, error_code=error, delay=delay)

    async def _record_attempt(self, delivery: ClaimedDelivery, attempt: DeliveryAttempt, *, until: float) -> None:
        """Store and log an attempt. While PostgreSQL is unavailable, retry until the lease ends at `until`."""
        # At least once, even if the lease has expired: the attempt counts unless another process has claimed the event.
        await retry_until_available(
            lambda: self._store_attempt(delivery, attempt),
            max_seconds=max(REQUEST_TIMEOUT, until - time.monotonic()),
            interval=_STORE_RETRY_DELAY,
        )
        self._attempts[attempt.outcome] += 1
        _log_attempt(delivery, attempt)

    async def _store_attempt(self, delivery: ClaimedDelivery, attempt: DeliveryAttempt) -> None:
        if attempt.outcome == "delivered":
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await delivery_queue.record_attempt(connection, delivery, attempt)
            return
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            failing_for = await delivery_queue.record_attempt(session, delivery, attempt)
            reason = None if failing_for is None else _reason_to_disable(attempt, failing_for)
            if reason is None:
                return
            endpoint = await delivery_queue.disable(
                session, endpoint_id=delivery.endpoint_id, url=delivery.url, reason=reason
            )
            if endpoint is None:
                return
            await audit_log.record(
                session, NewAuditEntry("webhook.disabled", target=endpoint, details={"reason": reason}), _SYSTEM_ORIGIN
            )
        logger.error("webhook endpoint disabled", extra={"endpoint": str(endpoint), "reason": reason})


@asynccontextmanager
async def open_webhook_delivery(settings: Settings, database: Database) -> AsyncIterator[WebhookDeliveryJob]:
    """Open the delivery job. On exit it waits up to `_STOP_TIMEOUT` for running deliveries."""
    client = SsrfSafeClient(AllowedHosts.parse(settings.WEBHOOK_ALLOWED_HOSTS))
    secrets = WebhookSecrets.from_secret(settings.secret_keys[0], settings.webhook_secrets, settings.secret_keys[1:])
    delivery = WebhookDeliveryJob(database, client, secrets, timeout=settings.WEBHOOK_TIMEOUT)
    try:
        yield delivery
    finally:
        await delivery.close()
        await client.aclose()


def _reason_to_disable(attempt: DeliveryAttempt, failing_for: timedelta) -> str | None:
    if attempt.response_status == HTTPStatus.GONE:
        return "gone"
    limit = DISABLE_AFTER if attempt.outcome == "failed" else DISABLE_REGARDLESS_AFTER
    return "failing" if failing_for >= limit else None


def _retry_after(response: ResponseHead | None) -> timedelta:
    """Return the pause that a receiver requests in seconds (RFC 9110, section 10.2.3); 0 without a valid header."""
    for name, value in response.headers if response else []:
        if name.lower() == "retry-after" and value.isascii() and value.isdigit():
            return min(timedelta(seconds=int(value[:9])), MAX_RETRY_AFTER)
    return timedelta(0)


def _log_attempt(delivery: ClaimedDelivery, attempt: DeliveryAttempt) -> None:
    level, message = {
        "delivered": (logging.DEBUG, "webhook delivered"),
        "postponed": (logging.INFO, "webhook retry scheduled"),
        "failed": (logging.WARNING, "webhook delivery failed"),
    }[attempt.outcome]
    fields = {
        "endpoint": str(delivery.endpoint_uuid),
        "event": str(delivery.event_id),
        "type": delivery.type,
        "attempt": delivery.attempt,
        "code": attempt.error_code,
        "response_status": attempt.response_status,
    }
    logger.log(level, message, extra=fields)
