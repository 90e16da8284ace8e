"""Statements about active turns: lists, lease renewal and cancellation requests."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    Interval,
    Uuid,
    and_,
    any_,
    bindparam,
    column,
    false,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import ChatMessage, ChatSession
from app.database.repositories.turns.turn_sql import IS_ACTIVE, OWNED_SESSION_ID


class ActiveAnswerRow(NamedTuple):
    """An answer that is being generated."""

    session_id: UUID
    """Public id; so is `message_id`."""
    message_id: UUID
    status: str
    started_at: datetime
    model: str | None


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
