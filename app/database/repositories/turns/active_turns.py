"""Statements about active turns: lease renewal, cancellation requests and interruption."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    Interval,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    column,
    false,
    func,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import ChatMessage, ChatSession, User
from app.database.repositories.turns import idempotency_keys
from app.database.repositories.turns.turn_sql import IS_ACTIVE, OWNED_SESSION_ID
from app.database.repositories.webhooks import event_outbox


class ActiveAnswerRow(NamedTuple):
    """An answer that is being generated."""

    session_id: UUID
    """Public id; so is `message_id`."""
    message_id: UUID
    status: str
    started_at: datetime
    model: str | None


_SET_INTERRUPTED = update(ChatMessage).values(
    status="interrupted", meta={"error": "interrupted"}, lease_expires_at=null(), updated_at=func.now()
)


def _interrupt_statement() -> Select[Any]:
    # The event refers to the account. Accounts are locked before their messages, in every transaction.
    owned = (
        select(ChatMessage.id, ChatMessage.session_id)
        .join(ChatSession, ChatMessage.session_id == ChatSession.id)
        .join(User, ChatSession.user_id == User.id)
        .where(ChatMessage.uuid == bindparam("p_turn_id", type_=Uuid))
        .with_for_update(of=User, key_share=True, read=True)
        .cte("owned")
    )
    answer = (
        _SET_INTERRUPTED.where(ChatMessage.id == owned.c.id, IS_ACTIVE)
        .returning(*event_outbox.TURN_EVENT_COLUMNS)
        .cte("answer")
    )
    event = event_outbox.turn_event_statement(answer).cte("event")
    key = idempotency_keys.release_statement(of_session=owned.c.session_id).cte("key")
    return select(answer.c.uuid).add_cte(event, key)


_INTERRUPT = _interrupt_statement()
_TURN_IDS = bindparam("p_turn_ids", type_=ARRAY(Uuid))
# Skips locked rows: they are being completed or deleted, and waiting for several of them could deadlock.
_DUE = (
    select(ChatMessage.id)
    .where(
        ChatMessage.uuid == any_(_TURN_IDS),
        IS_ACTIVE,
        ChatMessage.lease_expires_at < func.now() + bindparam("p_renew_before", type_=Interval),
    )
    .with_for_update(skip_locked=True)
)
_RENEW = (
    update(ChatMessage)
    .where(ChatMessage.id.in_(_DUE))
    .values(lease_expires_at=func.now() + bindparam("p_lease", type_=Interval))
)
_RUNNING = func.unnest(_TURN_IDS).table_valued(column("uuid", Uuid), name="running").render_derived()
_RENEW_LEASES = (
    select(_RUNNING.c.uuid)
    .select_from(_RUNNING.outerjoin(ChatMessage, ChatMessage.uuid == _RUNNING.c.uuid))
    .where(or_(ChatMessage.id.is_(None), and_(IS_ACTIVE, ChatMessage.cancel_requested_at.is_not(None))))
    .add_cte(_RENEW.cte("renewed"))
)
_REQUEST_CANCEL = (
    update(ChatMessage)
    .where(
        ChatMessage.uuid == bindparam("p_turn_id"),
        ChatMessage.session_id == OWNED_SESSION_ID.scalar_subquery(),
        IS_ACTIVE,
    )
    .values(cancel_requested_at=func.coalesce(ChatMessage.cancel_requested_at, func.now()))
)
# A turn updates its session when it starts, and its duration is limited: the index of a user's sessions by their last
# update gives the few that may have one. Both states, so that each is a range of the index.
_LIST = (
    select(
        ChatSession.uuid.label("session_id"),
        ChatMessage.uuid.label("message_id"),
        ChatMessage.status,
        ChatMessage.created_at.label("started_at"),
        ChatMessage.meta["model_requested"].astext.label("model"),
    )
    .join(ChatMessage, ChatMessage.session_id == ChatSession.id)
    .where(
        ChatSession.user_id == bindparam("p_user_id", type_=BigInteger),
        ChatSession.is_active.in_([true(), false()]),
        ChatSession.updated_at > func.now() - bindparam("p_max_age", type_=Interval),
        IS_ACTIVE,
        ChatMessage.lease_expires_at > func.now(),
    )
    .order_by(ChatMessage.created_at.desc(), ChatMessage.id.desc())
    .limit(bindparam("p_limit", type_=Integer))
)


async def list_of_user(
    connection: AsyncConnection, *, user_id: int, max_age: timedelta, limit: int
) -> list[ActiveAnswerRow]:
    """Return up to `limit` answers under way of a user, the newest first. None of them is older than `max_age`."""
    rows = await connection.execute(_LIST, {"p_user_id": user_id, "p_max_age": max_age, "p_limit": limit})
    return [ActiveAnswerRow(*row) for row in rows]


async def interrupt_turn(connection: AsyncConnection, *, answer_uuid: UUID) -> None:
    """Mark an active answer as `interrupted`, if it exists, and delete the idempotency key of its question."""
    event = event_outbox.parameters("turn.interrupted")
    await connection.execute(_INTERRUPT, {"p_turn_id": answer_uuid, **event})


async def renew_leases(
    connection: AsyncConnection, *, turn_ids: Sequence[UUID], lease: timedelta, renew_before: timedelta
) -> set[UUID]:
    """Renew the leases of the given turns that expire within `renew_before`, and return the turns to cancel.

    Turns to cancel are those with a cancellation request, and those whose answer was deleted.
    """
    rows = await connection.scalars(
        _RENEW_LEASES, {"p_turn_ids": list(turn_ids), "p_lease": lease, "p_renew_before": renew_before}
    )
    return set(rows)


async def request_cancel(connection: AsyncConnection, *, user_id: int, session_uuid: UUID, answer_uuid: UUID) -> None:
    """Store a cancellation request for an active answer of the user. No-op if there is none."""
    await connection.execute(
        _REQUEST_CANCEL, {"p_turn_id": answer_uuid, "p_session_uuid": session_uuid, "p_user_id": user_id}
    )
