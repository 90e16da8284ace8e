"""Queue of webhook deliveries: claims with a lease, and results of attempts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Integer,
    Interval,
    Select,
    String,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.sql.dml import ReturningUpdate

from app.database.models import WebhookDelivery, WebhookEndpoint
from app.database.repositories.operations.batch_deletion import DeletionByTime

MAX_LOGGED_ATTEMPTS = 20
"""Maximum number of attempts in the log of a delivery. Older ones are dropped."""

DeliveryOutcome = Literal["delivered", "postponed", "failed"]


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that this process may attempt until the lease expires."""

    id: int
    event_id: UUID
    type: str
    data: dict[str, Any]
    created_at: datetime
    """Time of the event."""
    attempts: int
    """Number of attempts, including this one. It also distinguishes this claim from later claims of the delivery."""
    attempt: int
    """Number of this attempt, starting at 1, since the event or the last requested redelivery."""
    endpoint_id: int
    endpoint_uuid: UUID
    url: str
    uses_shared_secret: bool
    secret_generation: int
    has_previous_secret: bool
    """Whether requests are also signed with the previous secret."""
    earlier_secret_generations: tuple[int, ...] = ()
    """Generations of older secrets with which requests are also signed."""


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """Result of an attempt."""

    outcome: DeliveryOutcome
    log: dict[str, Any]
    """Headers of request and response without secrets."""
    response_status: int | None = None
    """None: there was no response."""
    error_code: str | None = None
    """None: the attempt succeeded."""
    delay: timedelta | None = None
    """Time until the next attempt, if `outcome` is `postponed`."""


# A literal instead of a parameter, so that PostgreSQL can use the partial index of pending deliveries.
_IS_PENDING = WebhookDelivery.status == literal_column("'pending'")
_IS_DUE = (_IS_PENDING, WebhookDelivery.next_attempt_at <= func.now())


def _earlier_secret_generations() -> ColumnElement[Any]:
    secrets = func.jsonb_each_text(WebhookEndpoint.earlier_secrets_until).table_valued("key", "value", name="secrets")
    generation = cast(secrets.c.key, Integer)
    valid = (
        select(generation)
        .where(cast(secrets.c.value, DateTime(timezone=True)) > func.now())
        .order_by(generation.desc())
        .correlate(WebhookEndpoint)
    )
    return func.array(valid.scalar_subquery(), type_=ARRAY(Integer))


def _claim_statement() -> ReturningUpdate[Any]:
    # A lateral subquery per endpoint, so that a long queue of one endpoint does not delay the others. Rows that
    # another process is claiming are skipped.
    under_way = func.unnest(bindparam("p_under_way", type_=ARRAY(BigInteger))).column_valued("under_way")
    under_way_count = (
        select(func.count(under_way))
        .where(under_way == WebhookEndpoint.id)
        .correlate(WebhookEndpoint)
        .scalar_subquery()
    )
    due = (
        select(WebhookDelivery.id, WebhookDelivery.next_attempt_at)
        .where(WebhookDelivery.endpoint_id == WebhookEndpoint.id, *_IS_DUE)
        .order_by(WebhookDelivery.next_attempt_at)
        .limit(func.greatest(bindparam("p_per_endpoint", type_=Integer) - under_way_count, 0))
        .with_for_update(skip_locked=True)
        .correlate(WebhookEndpoint)
        .lateral("due")
    )
    batch = (
        select(due.c.id)
        .select_from(WebhookEndpoint)
        .join(due, true())
        .where(WebhookEndpoint.is_enabled)
        .order_by(due.c.next_attempt_at)
        .limit(bindparam("p_limit", type_=Integer))
        .cte("batch")
    )
    return (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == batch.c.id, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
        .values(
            attempts=WebhookDelivery.attempts + 1,
            next_attempt_at=func.now() + bindparam("p_lease", type_=Interval),
        )
        .returning(
            WebhookDelivery.id,
            WebhookDelivery.event_id,
            WebhookDelivery.type,
            WebhookDelivery.data,
            WebhookDelivery.created_at,
            WebhookDelivery.attempts,
            WebhookDelivery.attempts - WebhookDelivery.earlier_attempts,
            WebhookEndpoint.id,
            WebhookEndpoint.uuid,
            WebhookEndpoint.url,
            WebhookEndpoint.uses_shared_secret,
            WebhookEndpoint.secret_generation,
            func.coalesce(WebhookEndpoint.previous_secret_until > func.now(), False),
            _earlier_secret_generations(),
        )
    )


def _record_attempt_statement() -> Select[Any]:
    outcome = bindparam("p_outcome", type_=String)
    log = WebhookDelivery.log
    recent_log = case((func.jsonb_array_length(log) >= MAX_LOGGED_ATTEMPTS, log.op("-")(0)), else_=log)
    delivery = (
        update(WebhookDelivery)
        .where(
            WebhookDelivery.id == bindparam("p_id"),
            WebhookDelivery.attempts == bindparam("p_attempts"),
            _IS_PENDING,
        )
        .values(
            status=case((outcome == "postponed", "pending"), else_=outcome),
            next_attempt_at=case((outcome == "postponed", func.now() + bindparam("p_delay", type_=Interval))),
            response_status=bindparam("p_response_status"),
            error_code=bindparam("p_error_code"),
            log=recent_log.op("||")(func.jsonb_build_array(bindparam("p_log", type_=JSONB))),
        )
        .returning(WebhookDelivery.endpoint_id)
        .cte("delivery")
    )
    has_failed = bindparam("p_has_failed", type_=Boolean)
    health = (
        update(WebhookEndpoint)
        .where(WebhookEndpoint.id == delivery.c.endpoint_id, WebhookEndpoint.failing_since.is_(None) == has_failed)
        .values(
            failing_since=case((has_failed, func.now())),
            updated_at=WebhookEndpoint.updated_at,  # only changes by admins update it
        )
        .cte("health")
    )
    failing_for = type_coerce(func.now() - func.coalesce(WebhookEndpoint.failing_since, func.now()), Interval)
    return (
        select(failing_for)
        .select_from(delivery)
        .join(WebhookEndpoint, WebhookEndpoint.id == delivery.c.endpoint_id)
        .add_cte(health)
    )


_CLAIM = _claim_statement()
_RECORD_ATTEMPT = _record_attempt_statement()
_DISABLE = (
    update(WebhookEndpoint)
    .where(
        WebhookEndpoint.id == bindparam("p_endpoint_id"),
        WebhookEndpoint.is_enabled,
        # Failures of an address say nothing about the one that an admin has set since.
        WebhookEndpoint.url == bindparam("p_url"),
    )
    .values(is_enabled=False, disabled_reason=bindparam("p_reason"))
    .returning(WebhookEndpoint.uuid)
)


async def claim(
    connection: AsyncConnection,
    *,
    lease: timedelta,
    limit: int,
    per_endpoint: int = 1,
    under_way: Sequence[int] = (),
) -> list[ClaimedDelivery]:
    """Claim up to `limit` due deliveries for the duration of `lease`. One statement.

    At most `per_endpoint` deliveries of each endpoint are claimed, the longest overdue first. Running deliveries of the
    caller count against this limit: `under_way` has the endpoint key of each.
    """
    rows = await connection.execute(
        _CLAIM,
        {"p_lease": lease, "p_limit": limit, "p_per_endpoint": per_endpoint, "p_under_way": list(under_way)},
    )
    return [replace(ClaimedDelivery(*row[:-1]), earlier_secret_generations=tuple(row[-1])) for row in rows]


async def record_attempt(
    connection: AsyncConnection | AsyncSession, claimed: ClaimedDelivery, attempt: DeliveryAttempt
) -> timedelta | None:
    """Store the result of an attempt. One statement.

    Return how long the endpoint had been failing before, without a success; 0: it had not. None: another process has
    claimed the delivery since, and nothing was stored.
    """
    failing_for: timedelta | None = await connection.scalar(
        _RECORD_ATTEMPT,
        {
            "p_id": claimed.id,
            "p_attempts": claimed.attempts,
            "p_outcome": attempt.outcome,
            "p_delay": attempt.delay,
            "p_response_status": attempt.response_status,
            "p_error_code": attempt.error_code,
            "p_log": attempt.log,
            "p_has_failed": attempt.outcome != "delivered",
        },
    )
    return failing_for


async def disable(session: AsyncSession, *, endpoint_id: int, url: str, reason: str) -> UUID | None:
    """Disable an endpoint and return its public id. Its pending deliveries wait.

    None: it was disabled already, or has another URL than `url`. `reason`: code that admins see.
    """
    values = {"p_endpoint_id": endpoint_id, "p_url": url, "p_reason": reason}
    endpoint_uuid: UUID | None = await session.scalar(_DISABLE, values)
    return endpoint_uuid


def purge(*, age: timedelta) -> DeletionByTime:
    """Return the deletion of deliveries of events older than `age`, regardless of status."""
    is_expired = WebhookDelivery.created_at < func.now() - literal(age, Interval)
    return DeletionByTime(WebhookDelivery.id, WebhookDelivery.created_at, is_expired)
