"""Delivers events to the endpoints of webhooks: each at least once, and never from two processes at a time."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.core.outgoing_allowlist import AllowedHosts
from app.core.webhook_secrets import MissingSecretError, WebhookSecrets
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.audit import audit_log
from app.database.repositories.audit.audit_log import NewAuditEntry, RequestOrigin
from app.database.repositories.webhooks import deliveries
from app.database.repositories.webhooks.deliveries import ClaimedDelivery, DeliveryAttempt
from app.database.retry import retry_until_available
from app.services.http.ssrf_safe_client import OutgoingRequestError, ResponseHead, SsrfSafeClient
from app.services.webhooks.payload import (
    redacted_request_headers,
    redacted_response_headers,
    serialize_event,
    signed_headers,
)

logger = logging.getLogger(__name__)

DELAYS = (
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
"""Pauses after failed attempts: the eleventh and last is about a day after the first."""
JITTER = 0.2
"""Share of its pause by which an attempt may be early or late: what failed together does not come back together."""
MAX_RETRY_AFTER = timedelta(hours=1)
"""As much of a receiver's `Retry-After` as is granted."""
DISABLE_AFTER = timedelta(hours=18)
"""An endpoint that has taken nothing for so long is disabled when an event for it is given up."""
DISABLE_REGARDLESS_AFTER = timedelta(hours=48)
"""After so long it is disabled whatever becomes of its events: in a long queue none has its last attempt in a day."""
LEASE_MARGIN = timedelta(seconds=15)
"""What all the rest of a delivery may take besides the receiver."""
CONCURRENCY_PER_ENDPOINT = 4
"""Deliveries that one process has under way."""
CONCURRENCY = 50 * CONCURRENCY_PER_ENDPOINT
"""There are 50 endpoints at most, so none ever waits for another."""

_RUN_SECONDS = 3.0
"""How long a round looks for more, while it finds some."""
_POLL_INTERVAL = 0.5
"""How soon it looks for more, while none of those under way comes to an end."""
_STOP_TIMEOUT = 5.0
"""What a stopping process lets those take that are under way."""
_STORE_RETRY_SECONDS = 1.0
"""Pause before an outcome is noted that could not be."""
_SYSTEM = RequestOrigin(ip=None, user_agent=None, request_id=None)


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """Takes events out of the outbox and posts them, many at once, so that a slow receiver keeps no other waiting."""

    database: Database
    client: SsrfSafeClient
    secrets: WebhookSecrets
    timeout: float
    """Seconds that a receiver may take."""
    delays: Sequence[timedelta] = DELAYS
    _under_way: dict[asyncio.Task[None], int] = field(default_factory=dict)
    """With the key of the endpoint."""

    async def deliver_some(self) -> int:
        """Begin what is due, for a few seconds, and say how much that was. What takes longer goes on afterwards.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away. What was claimed is due again when its lease is over.

        """
        begun = 0
        until = time.monotonic() + _RUN_SECONDS
        while True:
            begun += await self._begin_some()
            if not self._under_way or time.monotonic() > until:
                return begun
            await asyncio.wait(self._under_way, timeout=_POLL_INTERVAL, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Let what is under way end, for some seconds. The rest is due again when its lease is over."""
        if not self._under_way:
            return
        _, unfinished = await asyncio.wait(self._under_way, timeout=_STOP_TIMEOUT)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)

    def figures(self) -> dict[str, int]:
        """Tell how many deliveries are under way."""
        return {"under_way": len(self._under_way)}

    async def _begin_some(self) -> int:
        """Claim as much of what is due as there is room for, and begin with it."""
        room = CONCURRENCY - len(self._under_way)
        if not room:
            return 0
        claimed_at = time.monotonic()
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            claimed = await deliveries.claim(
                connection,
                lease=timedelta(seconds=self.timeout) + LEASE_MARGIN,
                limit=room,
                per_endpoint=CONCURRENCY_PER_ENDPOINT,
                under_way=list(self._under_way.values()),
            )
        for delivery in claimed:
            task = asyncio.create_task(self._deliver(delivery, claimed_at))
            self._under_way[task] = delivery.endpoint_id
            task.add_done_callback(self._under_way.pop)
        return len(claimed)

    async def _deliver(self, delivery: ClaimedDelivery, claimed_at: float) -> None:
        try:
            # Of the lease, not of its own: a process that was frozen meanwhile must not post what is another's by now.
            left = self.timeout - (time.monotonic() - claimed_at)
            if left > 0:
                attempt = await self._attempt(delivery, max_seconds=left)
                await self._note(delivery, attempt, until=claimed_at + self.timeout + LEASE_MARGIN.total_seconds())
        except DatabaseUnavailableError:
            pass  # the job says so; the event will be delivered once more
        except Exception:
            logger.exception("webhook delivery failed")

    async def _attempt(self, delivery: ClaimedDelivery, *, max_seconds: float) -> DeliveryAttempt:
        started = time.monotonic()
        now = datetime.now(UTC)
        log: dict[str, object] = {"at": now.isoformat(), "attempt": delivery.attempt}
        reply: ResponseHead | None = None
        error: str | None = None
        try:
            body = serialize_event(delivery)
            headers = signed_headers(delivery, body, secrets=self._secrets_of(delivery), now=now)
            log["request"] = redacted_request_headers(headers)
            reply = await self.client.post(delivery.url, headers=headers, content=body, max_seconds=max_seconds)
        except MissingSecretError:
            error = "no_secret"
        except OutgoingRequestError as failure:
            error = failure.reason
        except Exception:
            # Noted like any other failure, so that it comes to an end.
            logger.exception("webhook delivery failed")
            error = "internal_error"
        else:
            log["response"] = redacted_response_headers(reply)
            if not HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES:
                error = "status"
        log |= {"duration_ms": round((time.monotonic() - started) * 1000), "error_code": error}
        return self._judge(delivery, reply, error, log)

    def _secrets_of(self, delivery: ClaimedDelivery) -> tuple[str, ...]:
        return self.secrets.signing(
            delivery.endpoint_uuid,
            generation=delivery.secret_generation,
            has_previous=delivery.has_previous_secret,
            uses_shared=delivery.uses_shared_secret,
        )

    def _judge(
        self, delivery: ClaimedDelivery, reply: ResponseHead | None, error: str | None, log: dict[str, object]
    ) -> DeliveryAttempt:
        status = reply.status if reply else None
        if error is None:
            return DeliveryAttempt("delivered", log, response_status=status)
        if status == HTTPStatus.GONE or delivery.attempt > len(self.delays):
            return DeliveryAttempt("failed", log, response_status=status, error_code=error)
        pause = self.delays[delivery.attempt - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - not a secret
        delay = max(pause, _retry_after(reply))
        return DeliveryAttempt("postponed", log, response_status=status, error_code=error, delay=delay)

    async def _note(self, delivery: ClaimedDelivery, attempt: DeliveryAttempt, *, until: float) -> None:
        """Write down what came of it. While the lease lasts, an outage of PostgreSQL is waited out."""
        # At least one attempt, even if the lease is over: it counts unless another process has claimed the event.
        await retry_until_available(
            lambda: self._note_once(delivery, attempt),
            max_seconds=max(REQUEST_TIMEOUT, until - time.monotonic()),
            interval=_STORE_RETRY_SECONDS,
        )
        _log(delivery, attempt)

    async def _note_once(self, delivery: ClaimedDelivery, attempt: DeliveryAttempt) -> None:
        if attempt.outcome == "delivered":
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await deliveries.record_attempt(connection, delivery, attempt)
            return
        async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as session:
            failing_for = await deliveries.record_attempt(session, delivery, attempt)
            reason = None if failing_for is None else _reason_to_disable(attempt, failing_for)
            if reason is None:
                return
            endpoint = await deliveries.disable(session, endpoint_id=delivery.endpoint_id, reason=reason)
            if endpoint is None:
                return
            await audit_log.record(
                session, NewAuditEntry("webhook.disabled", target=endpoint, details={"reason": reason}), _SYSTEM
            )
        logger.error("webhook endpoint disabled", extra={"endpoint": str(endpoint), "reason": reason})


@asynccontextmanager
async def open_webhook_delivery(settings: Settings, database: Database) -> AsyncIterator[WebhookDelivery]:
    """Open what delivers events. When the block ends, what is under way then may end too, for some seconds."""
    client = SsrfSafeClient(AllowedHosts.parse(settings.WEBHOOK_ALLOWED_HOSTS))
    secrets = WebhookSecrets.from_secret(settings.SECRET_KEY.get_secret_value(), settings.webhook_secrets)
    delivery = WebhookDelivery(database, client, secrets, timeout=settings.WEBHOOK_TIMEOUT)
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


def _retry_after(reply: ResponseHead | None) -> timedelta:
    """Return how long a receiver asks to be left alone (RFC 9110, section 10.2.3: in seconds)."""
    for name, value in reply.headers if reply else []:
        if name.lower() == "retry-after" and value.isascii() and value.isdigit():
            return min(timedelta(seconds=int(value[:9])), MAX_RETRY_AFTER)
    return timedelta(0)


def _log(delivery: ClaimedDelivery, attempt: DeliveryAttempt) -> None:
    level, message = {
        "delivered": (logging.DEBUG, "webhook delivered"),
        "postponed": (logging.INFO, "webhook postponed"),
        "failed": (logging.WARNING, "webhook given up"),
    }[attempt.outcome]
    facts = {
        "endpoint": str(delivery.endpoint_uuid),
        "event": str(delivery.event_id),
        "type": delivery.type,
        "attempt": delivery.attempt,
        "code": attempt.error_code,
        "response_status": attempt.response_status,
    }
    logger.log(level, message, extra=facts)
