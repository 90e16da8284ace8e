"""The outbox of webhooks: what is to be delivered, by one process at a time, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Integer,
    Interval,
    Select,
    String,
    bindparam,
    case,
    func,
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
from app.database.repositories.operations import batch_deletion

LOGGED_ATTEMPTS = 20
"""The last ones, of each delivery."""

DeliveryOutcome = Literal["delivered", "postponed", "failed"]


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """An event that this process may deliver until its lease is over."""

    id: int
    event_id: UUID
    type: str
    data: dict[str, Any]
    created_at: datetime
    """When it happened."""
    attempts: int
    """This one and all before it. Also tells this claim from a later one of the same delivery."""
    attempt: int
    """This one, from 1, since the event happened or a redelivery was asked for."""
    endpoint_id: int
    endpoint_uuid: UUID
    url: str
    uses_shared_secret: bool
    secret_generation: int
    has_previous_secret: bool
    """Whether the secret of the generation before still signs too."""


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """What came of a claimed delivery."""

    outcome: DeliveryOutcome
    log: dict[str, Any]
    """What was sent and what came back: heads without secrets, no bodies."""
    response_status: int | None = None
    """None: there was no answer."""
    error_code: str | None = None
    """None: it was delivered."""
    delay: timedelta | None = None
    """Of what is postponed, until the next attempt."""


# Not a parameter: a plan for any status could not use the index of those that are pending.
_IS_PENDING = WebhookDelivery.status == literal_column("'pending'")
_IS_DUE = (_IS_PENDING, WebhookDelivery.next_attempt_at <= func.now())


def _claim_statement() -> ReturningUpdate[Any]:
    # From endpoint to endpoint, so that one with a long queue does not keep the others waiting. A row that another
    # process is claiming is passed over, not waited for.
    under_way = func.unnest(bindparam("p_under_way", type_=ARRAY(BigInteger))).column_valued("under_way")
    taken = (
        select(func.count(under_way))
        .where(under_way == WebhookEndpoint.id)
        .correlate(WebhookEndpoint)
        .scalar_subquery()
    )
    due = (
        select(WebhookDelivery.id, WebhookDelivery.next_attempt_at)
        .where(WebhookDelivery.endpoint_id == WebhookEndpoint.id, *_IS_DUE)
        .order_by(WebhookDelivery.next_attempt_at)
        .limit(func.greatest(bindparam("p_per_endpoint", type_=Integer) - taken, 0))
        .with_for_update(skip_locked=True)
        .correlate(WebhookEndpoint)
        .lateral("due")
    )
    some = (
        select(due.c.id)
        .select_from(WebhookEndpoint)
        .join(due, true())
        .where(WebhookEndpoint.is_enabled)
        .order_by(due.c.next_attempt_at)
        .limit(bindparam("p_limit", type_=Integer))
        .cte("some")
    )
    return (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == some.c.id, WebhookEndpoint.id == WebhookDelivery.endpoint_id)
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
        )
    )


def _settle_statement() -> Select[Any]:
    outcome = bindparam("p_outcome", type_=String)
    log = WebhookDelivery.log
    kept = case((func.jsonb_array_length(log) >= LOGGED_ATTEMPTS, log.op("-")(0)), else_=log)
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
            log=kept.op("||")(func.jsonb_build_array(bindparam("p_log", type_=JSONB))),
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
            updated_at=WebhookEndpoint.updated_at,  # which is of what admins change
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
_SETTLE = _settle_statement()
_DISABLE = (
    update(WebhookEndpoint)
    .where(WebhookEndpoint.id == bindparam("p_endpoint_id"), WebhookEndpoint.is_enabled)
    .values(is_enabled=False, disabled_reason=bindparam("p_reason"))
    .returning(WebhookEndpoint.uuid)
)
_PURGE = batch_deletion.delete_statement(
    WebhookDelivery.id, WebhookDelivery.created_at < func.now() - bindparam("p_age", type_=Interval)
)


async def claim(
    connection: AsyncConnection,
    *,
    lease: timedelta,
    limit: int,
    per_endpoint: int = 1,
    under_way: Sequence[int] = (),
) -> list[ClaimedDelivery]:
    """Take up to `limit` deliveries that are due. Nobody else gets them until `lease` is over. One statement.

    At most `per_endpoint` of each endpoint, less those that the caller has under way: their endpoints' keys are in
    `under_way`. Of an endpoint those that have been due for longest.
    """
    rows = await connection.execute(
        _CLAIM,
        {"p_lease": lease, "p_limit": limit, "p_per_endpoint": per_endpoint, "p_under_way": list(under_way)},
    )
    return [ClaimedDelivery(*row) for row in rows]


async def record_attempt(
    connection: AsyncConnection | AsyncSession, claimed: ClaimedDelivery, attempt: DeliveryAttempt
) -> timedelta | None:
    """Note what came of a delivery, unless somebody else has claimed it since: then None. One statement.

    Return for how long the endpoint had been failing, without a success: 0 if this is the first time.
    """
    failing_for: timedelta | None = await connection.scalar(
        _SETTLE,
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


async def disable(session: AsyncSession, *, endpoint_id: int, reason: str) -> UUID | None:
    """Tell an endpoint nothing any more until an admin enables it. Return its public id; None: it was disabled before.

    What is pending for it waits.
    """
    found: UUID | None = await session.scalar(_DISABLE, {"p_endpoint_id": endpoint_id, "p_reason": reason})
    return found


async def purge(connection: AsyncConnection, *, limit: int, age: timedelta) -> int:
    """Remove deliveries, also such as never succeeded, of events older than `age`: `limit` at most; say how many."""
    return len((await connection.execute(_PURGE, {"p_limit": limit, "p_age": age})).all())
