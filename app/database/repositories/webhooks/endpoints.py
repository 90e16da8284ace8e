"""Endpoints of webhooks, and what became of their events, as admins see and change them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import delete, func, insert, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.core.types import new_id
from app.database.models import WebhookDelivery, WebhookEndpoint

Status = Literal["pending", "delivered", "failed"]

# Any number: it is locked by those who add an endpoint, so that of two each counts the other's.
_ADDING = text("SELECT pg_advisory_xact_lock(7302194)")


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to store."""

    url: str
    events: Sequence[str]
    description: str | None
    is_enabled: bool
    uses_shared_secret: bool


async def create(session: AsyncSession, new: NewEndpoint, *, most: int) -> WebhookEndpoint | None:
    """Store an endpoint. None: there are `most` of them already."""
    await session.execute(_ADDING)
    if (await session.scalar(select(func.count()).select_from(WebhookEndpoint)) or 0) >= most:
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
    """Return the endpoints, newest first."""
    return (await session.scalars(select(WebhookEndpoint).order_by(WebhookEndpoint.id.desc()))).all()


async def find(session: AsyncSession, endpoint_uuid: UUID, *, for_change: bool = False) -> WebhookEndpoint | None:
    """Return an endpoint. With `for_change` nobody else changes it until the transaction ends."""
    statement = select(WebhookEndpoint).where(WebhookEndpoint.uuid == endpoint_uuid)
    if for_change:
        statement = statement.with_for_update(key_share=True)
    found: WebhookEndpoint | None = await session.scalar(statement)
    return found


async def change(session: AsyncSession, endpoint_id: int, values: Mapping[str, Any]) -> WebhookEndpoint:
    """Change these columns of an endpoint, and return it."""
    statement = update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id).values(**values)
    rows = await session.scalars(statement.returning(WebhookEndpoint), execution_options={"populate_existing": True})
    return rows.one()


async def rotate_secret(session: AsyncSession, endpoint_id: int, *, grace: timedelta) -> WebhookEndpoint:
    """Give an endpoint its next secret. The one it has now signs for `grace` longer, and none before that."""
    values = {
        "secret_generation": WebhookEndpoint.secret_generation + 1,
        "previous_secret_until": func.now() + grace,
    }
    return await change(session, endpoint_id, values)


async def remove(session: AsyncSession, endpoint_id: int) -> None:
    """Delete an endpoint. Its events are removed in their time, and nobody sees or delivers them until then."""
    await session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id))


async def add_event(session: AsyncSession, endpoint_id: int, *, kind: str, data: Mapping[str, Any]) -> WebhookDelivery:
    """Have one endpoint told of something, whatever it wants to know of."""
    values = {"event_id": new_id(), "endpoint_id": endpoint_id, "type": kind, "data": dict(data)}
    return (await session.scalars(insert(WebhookDelivery).values(**values).returning(WebhookDelivery))).one()


async def list_deliveries(
    session: AsyncSession, endpoint_id: int, *, status: Status | None, after: UUID | None, limit: int
) -> Sequence[WebhookDelivery]:
    """Return events of an endpoint, newest first: those written before the event `after`. None of what is unknown."""
    statement = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    if status is not None:
        # Written out, so that PostgreSQL can tell that the index of those that have failed serves.
        statement = statement.where(WebhookDelivery.status == literal(status, literal_execute=True))
    if after is not None:
        place = select(WebhookDelivery.id).where(
            WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.event_id == after
        )
        statement = statement.where(WebhookDelivery.id < place.scalar_subquery())
    return (await session.scalars(statement.order_by(WebhookDelivery.id.desc()).limit(limit))).all()


async def find_delivery(session: AsyncSession, endpoint_id: int, event_id: UUID) -> WebhookDelivery | None:
    """Return an event of an endpoint with the log of its attempts."""
    statement = select(WebhookDelivery).where(
        WebhookDelivery.endpoint_id == endpoint_id, WebhookDelivery.event_id == event_id
    )
    found: WebhookDelivery | None = await session.scalar(statement.options(undefer(WebhookDelivery.log)))
    return found


async def redeliver(session: AsyncSession, endpoint_id: int, event_id: UUID) -> WebhookDelivery | None:
    """Have an event delivered once more, as if it had just happened. None: there is none, or it is pending."""
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
    found: WebhookDelivery | None = await session.scalar(statement, execution_options={"populate_existing": True})
    return found
