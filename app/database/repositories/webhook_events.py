"""Events: what endpoints of webhooks are told of.

An event is written in the transaction of what has happened, a row for each endpoint that wants to know. Without
endpoints nothing is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    String,
    Uuid,
    and_,
    any_,
    bindparam,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.types import new_id
from app.database.models import WebhookDelivery, WebhookEndpoint

EventType = Literal[
    "quota.exceeded",
    "session.created",
    "session.deleted",
    "turn.cancelled",
    "turn.completed",
    "turn.failed",
    "turn.interrupted",
    "user.erased",
    "user.registered",
    "user.updated",
    "webhook.test",
]
"""Each is explained in docs/webhooks.md."""

EVERY_EVENT = "*"
"""In place of types: all of them, those too that are added later."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened.

    `data` must not hold what somebody has written, an address or a name: ids, states and figures.
    """

    type: EventType
    data: Mapping[str, Any]
    user_id: int | None = None
    """The account that it is about, with which it goes; None where it is to be told of after that is erased."""
    id: UUID = field(default_factory=new_id)
    """An event that is there already is not written again."""


def insertion(source: FromClause, *, user_id: ColumnElement[int], data: ColumnElement[Any]) -> Insert:
    """Build the insertion of an event for each row of `source`, which has one or none, to be run with `parameters`.

    For statements that cannot afford another one.
    """
    kind = bindparam("p_event_type", type_=String(50))
    events = any_(WebhookEndpoint.events)
    wants = and_(WebhookEndpoint.is_enabled, or_(kind == events, literal_column(f"'{EVERY_EVENT}'") == events))
    rows = select(bindparam("p_event_id", type_=Uuid), WebhookEndpoint.id, user_id, kind, data).select_from(
        source.join(WebhookEndpoint, wants)
    )
    return insert(WebhookDelivery).from_select(["event_id", "endpoint_id", "user_id", "type", "data"], rows)


def parameters(kind: EventType) -> dict[str, Any]:
    """Return what `insertion` takes of a new event."""
    return {"p_event_id": new_id(), "p_event_type": kind}


_NOTHING = select(true().label("one")).subquery("nothing")
_EMIT = (
    insertion(_NOTHING, user_id=bindparam("p_user_id", type_=BigInteger), data=bindparam("p_data", type_=JSONB))
    .on_conflict_do_nothing()
    .execution_options(dml_strategy="raw")  # the parameters are the statement's, not the columns of an object
)


async def emit(connection: AsyncSession | AsyncConnection, event: Event) -> None:
    """Have endpoints told of an event, in the transaction of what has happened."""
    values = {
        "p_event_id": event.id,
        "p_event_type": event.type,
        "p_user_id": event.user_id,
        "p_data": dict(event.data),
    }
    await connection.execute(_EMIT, values)
