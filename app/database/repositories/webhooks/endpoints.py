"""Management of webhook endpoints and their deliveries by admins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import delete, func, insert, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.core.schema_types import new_id
from app.database.models import WebhookDelivery, WebhookEndpoint

DeliveryStatus = Literal["pending", "delivered", "failed"]

# Serializes insertions, so that concurrent ones cannot exceed the maximum. The number is arbitrary.
_LOCK_INSERTION = text("SELECT pg_advisory_xact_lock(7302194)")


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to store."""

    url: str
    events: Sequence[str]
    description: str | None
    is_enabled: bool
    uses_shared_secret: bool


async def create(session: AsyncSession, new: NewEndpoint, *, max_endpoints: int) -> WebhookEndpoint | None:
    """Insert an endpoint. None: there are `max_endpoints` already."""
    await session.execute(_LOCK_INSERTION)
    if (await session.scalar(select(func.count()).select_from(WebhookEndpoint)) or 0) >= max_endpoints:
        return None
    return (
        await session.scalars(
            insert(WebhookEndpoint)
            .values(
                uuid=new_id(),
                url=new.url,
                events=list(new.events),
                description=new.description,
                is_enabled=new.is_enabled,
                uses_shared_secret=new.uses_shared_secret,
            )
            .returning(WebhookEndpoint)
        )
    ).one()


async def list_all(session: AsyncSession) -> Sequence[WebhookEndpoint]:
    """Return all endpoints, newest first."""
    return (await session.scalars(select(WebhookEndpoint).order_by(WebhookEndpoint.id.desc()))).all()


async def find(session: AsyncSession, endpoint_uuid: UUID, *, for_change: bool = False) -> WebhookEndpoint | None:
    """Return an endpoint. None: there is none. `for_change` locks it until the transaction ends."""
    statement = select(WebhookEndpoint).where(WebhookEndpoint.uuid == endpoint_uuid)
    if for_change:
        statement = statement.with_for_update(key_share=True)
    endpoint: WebhookEndpoint | None = await session.scalar(statement)
    return endpoint


async def change(session: AsyncSession, endpoint_id: int, values: Mapping[str, Any]) -> WebhookEndpoint:
    """Update columns of an endpoint, and return it."""
    statement = update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id).values(**values)
    rows = await session.scalars(statement.returning(WebhookEndpoint), execution_options={"populate_existing": True})
    return rows.one()


async def rotate_secret(
    session: AsyncSession, endpoint: WebhookEndpoint, *, grace: timedelta, max_previous: int
) -> WebhookEndpoint | None:
    """Rotate the secret of a locked endpoint. Requests are also signed with the previous secret for `grace`.

    Secrets of earlier rotations stay valid until their own expiry. None: `max_previous` of them are valid already, and
    the previous one would be one more.
    """
    now: datetime = (await session.execute(select(func.now()))).scalar_one()
    earlier = {
        generation: until
        for generation, until in endpoint.earlier_secrets_until.items()
        if datetime.fromisoformat(until) > now
    }
    if endpoint.previous_secret_until is not None and endpoint.previous_secret_until > now:
        earlier[str(endpoint.secret_generation - 1)] = endpoint.previous_secret_until.isoformat()
    if grace and len(earlier) >= max_previous:
        return None
    values = {
        "secret_generation": endpoint.secret_generation + 1,
        "previous_secret_until": now + grace,
        "earlier_secrets_until": earlier,
    }
    return await change(session, endpoint.id, values)


async def remove(session: AsyncSession, endpoint_id: int) -> None:
    """Delete an endpoint. Its deliveries are neither visible nor attempted, and are deleted when they are too old."""
    await session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id))


async def add_event(
    session: AsyncSession, endpoint_id: int, *, event_type: str, data: Mapping[str, Any]
) -> WebhookDelivery:
    """Insert a delivery for one endpoint, regardless of its subscriptions."""
    values = {"event_id": new_id(), "endpoint_id": endpoint_id, "type": event_type, "data": dict(data)}
    return (await session.scalars(insert(WebhookDelivery).values(**values).returning(WebhookDelivery))).one()


async def list_deliveries(
    session: AsyncSession, endpoint_id: int, *, status: DeliveryStatus | None, after: UUID | None, limit: int
) -> Sequence[WebhookDelivery]:
    """Return up to `limit` deliveries of an endpoint, newest first, that follow the event `after` in this order.

    If `after` is unknown, none are returned.
    """
    statement = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    if status is not None:
        # A literal instead of a parameter, so that PostgreSQL can use the partial index of failed deliveries.
        statement = statement.where(WebhookDelivery.status == literal(status, literal_execute=True))
    if after is not None:
        after_id = select(WebhookDelivery.id).where(
            WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.event_id == after
        )
        statement = statement.where(WebhookDelivery.id < after_id.scalar_subquery())
    return (await session.scalars(statement.order_by(WebhookDelivery.id.desc()).limit(limit))).all()


async def find_delivery(session: AsyncSession, endpoint_id: int, event_id: UUID) -> WebhookDelivery | None:
    """Return a delivery with the log of its attempts. None: there is none."""
    statement = select(WebhookDelivery).where(
        WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.event_id == event_id
    )
    delivery: WebhookDelivery | None = await session.scalar(statement.options(undefer(WebhookDelivery.log)))
    return delivery


async def redeliver(session: AsyncSession, endpoint_id: int, event_id: UUID) -> WebhookDelivery | None:
    """Queue a delivery again, with a new series of attempts. None: there is none, or it is pending."""
    statement = (
        update(WebhookDelivery)
        .where(
            WebhookDelivery.endpoint_id == endpoint_id,
            WebhookDelivery.event_id == event_id,
            WebhookDelivery.status != "pending",
        )
        .values(status="pending", next_attempt_at=func.now(), earlier_attempts=WebhookDelivery.attempts)
        .returning(WebhookDelivery)
    )
    delivery: WebhookDelivery | None = await session.scalar(statement, execution_options={"populate_existing": True})
    return delivery
