"""Events: what endpoints of webhooks are told of.

An event is written in the transaction of what has happened, a row for each endpoint that wants to know. Without
endpoints nothing is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    SQLColumnExpression,
    String,
    Uuid,
    and_,
    any_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.core.types import new_id
from app.database.models import ChatMessage, ChatSession, User, WebhookDelivery, WebhookEndpoint

SubscribableEvent = Literal[
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
]
"""What endpoints may want to know of. Each is explained in docs/webhooks.md."""

EventType = SubscribableEvent | Literal["webhook.test"]

EVERY_EVENT = "*"
"""In place of types: all of them, those too that are added later."""

TURN_ENDED: Mapping[str, EventType] = {
    "complete": "turn.completed",
    "failed": "turn.failed",
    "cancelled": "turn.cancelled",
    "interrupted": "turn.interrupted",
}
"""By the status of the answer."""

OF_ANSWER = (
    ChatMessage.uuid,
    ChatMessage.session_id,
    ChatMessage.status,
    ChatMessage.meta,
    ChatMessage.processing_time_ms,
)
"""Columns of a message that an event about its turn is made of."""

_OF_METADATA = (
    "model_requested",
    "model_used",
    "fallback_model",
    "cached",
    "attempts",
    "tokens_used",
    "tokens_estimated",
    "cost_usd",
    "first_token_ms",
    "error",
)
"""How the answer came about, and nothing that its owner or a model has written."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that has happened.

    `data` must not hold what somebody has written, an address or a name: ids, states and figures.
    """

    type: EventType
    data: Mapping[str, Any]
    user_id: int | None = None
    """The account that it is about, with which it goes; None where it is to be told of after that is erased."""
    id: UUID = field(default_factory=new_id)
    """An event that is there already is not written again."""


def _written_out(text: str) -> ColumnElement[str]:
    return literal_column(f"'{text}'", String)


def insertion(source: FromClause, *, user_id: SQLColumnExpression[int], data: ColumnElement[Any]) -> Insert:
    """Build the insertion of an event for each row of `source`, which has one or none, to be run with `parameters`.

    For statements that cannot afford another one.
    """
    kind = bindparam("p_event_type", type_=String(50))
    events = any_(WebhookEndpoint.events)
    wants = and_(WebhookEndpoint.is_enabled, or_(kind == events, _written_out(EVERY_EVENT) == events))
    rows = select(bindparam("p_event_id", type_=Uuid), WebhookEndpoint.id, user_id, kind, data).select_from(
        source.join(WebhookEndpoint, wants)
    )
    return insert(WebhookDelivery).from_select(["event_id", "endpoint_id", "user_id", "type", "data"], rows)


def _object(members: Mapping[str, SQLColumnExpression[Any]]) -> ColumnElement[Any]:
    return func.jsonb_build_object(*(part for name, value in members.items() for part in (_written_out(name), value)))


def about_session(sessions: FromClause) -> Insert:
    """Build the insertion of an event about a session, to be run with `parameters`.

    `sessions` has a row if the event has happened: `owner_id`, and what the event tells.
    """
    told = {column.name: column for column in sessions.c if column.name != "owner_id"}
    return insertion(sessions, user_id=sessions.c.owner_id, data=_object(told))


def about_turn(answer: CTE) -> Insert:
    """Build the insertion of the event that a turn has ended, to be run with `parameters`.

    `answer` returns `OF_ANSWER` of the message that was settled.
    """
    ids = {"message_id": answer.c.uuid, "session_id": ChatSession.uuid, "user_id": User.uuid}
    data: dict[str, SQLColumnExpression[Any]] = {
        **ids,
        "status": answer.c.status,
        **{name: answer.c.meta[_written_out(name)] for name in _OF_METADATA},
        "processing_time_ms": answer.c.processing_time_ms,
    }
    source = answer.join(ChatSession, ChatSession.id == answer.c.session_id).join(User, User.id == ChatSession.user_id)
    return insertion(source, user_id=User.id, data=_object(data))


def parameters(kind: EventType) -> dict[str, Any]:
    """Return what `insertion` takes of a new event."""
    return {"p_event_id": new_id(), "p_event_type": kind}


_NOTHING = select(true().label("one")).subquery("nothing")
_EMIT = (
    insertion(_NOTHING, user_id=bindparam("p_user_id", type_=BigInteger), data=bindparam("p_data", type_=JSONB))
    .on_conflict_do_nothing()
    .execution_options(dml_strategy="raw")  # the parameters are the statement's, not the columns of an object
)


async def emit(connection: AsyncSession | AsyncConnection, event: WebhookEvent) -> None:
    """Have endpoints told of an event, in the transaction of what has happened."""
    values = {
        "p_event_id": event.id,
        "p_event_type": event.type,
        "p_user_id": event.user_id,
        "p_data": dict(event.data),
    }
    await connection.execute(_EMIT, values)
