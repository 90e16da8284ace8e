"""Transactional outbox of webhook events.

An event is inserted in the transaction that causes it, except `quota.exceeded`: one row for each endpoint that has
subscribed to its type.
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
    Subquery,
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

from app.core.schema_types import new_id
from app.database.models import ChatMessage, ChatSession, User, WebhookDelivery, WebhookEndpoint

SubscribableEvent = Literal[
    "feedback.changed",
    "quota.exceeded",
    "session.created",
    "session.deleted",
    "session.updated",
    "turn.cancelled",
    "turn.completed",
    "turn.failed",
    "turn.interrupted",
    "user.erased",
    "user.registered",
    "user.updated",
]
"""Types that endpoints can subscribe to. docs/reference/webhooks.md describes them."""

EventType = SubscribableEvent | Literal["webhook.test"]

EVERY_EVENT = "*"
"""Subscription to all types, including types that are added later."""

TURN_EVENT_TYPES: Mapping[str, EventType] = {
    "complete": "turn.completed",
    "failed": "turn.failed",
    "cancelled": "turn.cancelled",
    "interrupted": "turn.interrupted",
}
"""Event type by the status of the answer."""

TURN_EVENT_COLUMNS = (
    ChatMessage.uuid,
    ChatMessage.session_id,
    ChatMessage.status,
    ChatMessage.meta,
    ChatMessage.processing_time_ms,
)
"""Columns of an answer that `turn_event_statement` needs."""

_METADATA_FIELDS = (
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
"""Fields of the answer's metadata that the event contains: provenance, but no text of the user or the model."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """An event to insert.

    `data` must contain ids, states and numbers only: no message text, email addresses or names.
    """

    type: EventType
    data: Mapping[str, Any]
    user_id: int | None = None
    """Account whose erasure deletes the event. None: the event is delivered even after the erasure."""
    id: UUID = field(default_factory=new_id)
    """An event with an id that exists is not inserted again."""


def _sql_literal(text: str) -> ColumnElement[str]:
    return literal_column(f"'{text}'", String)


def event_statement(
    source: FromClause,
    *,
    user_id: SQLColumnExpression[int],
    data: ColumnElement[Any],
    event_id: ColumnElement[UUID] | None = None,
) -> Insert:
    """Build the INSERT of an event for the row of `source`, if there is one. It is executed with `parameters`.

    It can be a CTE of the statement that causes the event, to save a round trip. With `event_id`, a column of `source`,
    there may be several rows, each of them an event, and it is executed with `types`.
    """
    if event_id is None:
        event_id = bindparam("p_event_id", type_=Uuid)
    event_type = bindparam("p_event_type", type_=String(50))
    events = any_(WebhookEndpoint.events)
    is_subscribed = and_(WebhookEndpoint.is_enabled, or_(event_type == events, _sql_literal(EVERY_EVENT) == events))
    rows = select(event_id, WebhookEndpoint.id, user_id, event_type, data).select_from(
        source.join(WebhookEndpoint, is_subscribed)
    )
    return insert(WebhookDelivery).from_select(["event_id", "endpoint_id", "user_id", "type", "data"], rows)


def _object(members: Mapping[str, SQLColumnExpression[Any]]) -> ColumnElement[Any]:
    return func.jsonb_build_object(*(part for name, value in members.items() for part in (_sql_literal(name), value)))


def session_event_statement(sessions: FromClause) -> Insert:
    """Build the INSERT of an event about a session. It is executed with `parameters`.

    `sessions` has one row, if the event has occurred: `owner_id`, and the fields of the event data. With the column
    `event_id` it may have several rows, see `event_statement`.
    """
    fields = {column.name: column for column in sessions.c if column.name not in {"owner_id", "event_id"}}
    event_id = sessions.c.get("event_id")
    return event_statement(sessions, user_id=sessions.c.owner_id, data=_object(fields), event_id=event_id)


def changed_sessions(changed: CTE, data: Mapping[str, ColumnElement[Any]]) -> Subquery:
    """Return rows for `session_event_statement` from sessions that a statement has changed.

    `changed` returns `user_id` and `uuid` of each. `data`: further columns.
    """
    return (
        select(
            changed.c.user_id.label("owner_id"),
            User.uuid.label("user_id"),
            changed.c.uuid.label("session_id"),
            *(column.label(name) for name, column in data.items()),
        )
        .join(User, User.id == changed.c.user_id)
        .subquery("event_data")
    )


def turn_event_statement(answer: CTE) -> Insert:
    """Build the INSERT of the event that a turn has ended. It is executed with `parameters`.

    `answer` returns `TURN_EVENT_COLUMNS` of the finished answer.
    """
    ids = {"message_id": answer.c.uuid, "session_id": ChatSession.uuid, "user_id": User.uuid}
    data: dict[str, SQLColumnExpression[Any]] = {
        **ids,
        "status": answer.c.status,
        **{name: answer.c.meta[_sql_literal(name)] for name in _METADATA_FIELDS},
        "processing_time_ms": answer.c.processing_time_ms,
    }
    source = answer.join(ChatSession, ChatSession.id == answer.c.session_id).join(User, User.id == ChatSession.user_id)
    return event_statement(source, user_id=User.id, data=_object(data))


def parameters(event_type: EventType) -> dict[str, Any]:
    """Return the parameters of a new event for the statements above."""
    return {"p_event_id": new_id(), "p_event_type": event_type}


def types(event_type: EventType) -> dict[str, Any]:
    """Return the parameters of new events of one type for statements with several rows."""
    return {"p_event_type": event_type}


_ONE_ROW = select(true().label("one")).subquery("one_row")
_EMIT = (
    event_statement(_ONE_ROW, user_id=bindparam("p_user_id", type_=BigInteger), data=bindparam("p_data", type_=JSONB))
    .on_conflict_do_nothing()
    .execution_options(dml_strategy="raw")  # parameters of the statement, not column values for a bulk insert
)


async def emit(connection: AsyncSession | AsyncConnection, event: WebhookEvent) -> None:
    """Insert an event for all subscribed endpoints, in the current transaction."""
    values = {
        "p_event_id": event.id,
        "p_event_type": event.type,
        "p_user_id": event.user_id,
        "p_data": dict(event.data),
    }
    await connection.execute(_EMIT, values)
