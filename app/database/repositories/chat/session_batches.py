"""Deletion and archiving of many sessions of a user, in batches: a statement has a time limit."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    Boolean,
    ColumnElement,
    Select,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import ChatSession
from app.database.repositories.accounts import erasure
from app.database.repositories.usage import ledger
from app.database.repositories.webhooks import event_outbox

MAX_SESSIONS = 50_000
"""Maximum number of sessions that are found at once."""


class DeletedSessions(NamedTuple):
    """Public ids of sessions that were deleted, and of their answers of which Redis may have copies."""

    uuids: list[UUID]
    answer_uuids: list[UUID]


class FoundSession(NamedTuple):
    """Keys of a session, and the number of its last message."""

    id: int
    uuid: UUID
    last_seq: int


_IDS = bindparam("p_ids", type_=ARRAY(BigInteger))
_UUIDS = bindparam("p_uuids", type_=ARRAY(Uuid))
_IS_OWNED = ChatSession.user_id == bindparam("p_user_id", type_=BigInteger)
_FIND = select(ChatSession.id, ChatSession.uuid, ChatSession.last_seq).where(_IS_OWNED).limit(MAX_SESSIONS)
_FIND_BY_UUID = _FIND.where(ChatSession.uuid == any_(_UUIDS))
_FIND_BY_STATE = _FIND.where(ChatSession.is_active == bindparam("p_is_active", type_=Boolean))


def _locked() -> CTE:
    # Accounts before their sessions, and these in the order of their keys, in every transaction.
    owner = ledger.owner_statement()
    return (
        select(ChatSession.id, ChatSession.last_seq)
        .where(ChatSession.user_id == owner.c.id, ChatSession.id == any_(_IDS))
        .order_by(ChatSession.id)
        .with_for_update(of=ChatSession)
        .cte("locked")
    )


def _with_events(changed: CTE, data: dict[str, ColumnElement[Any]]) -> Select[Any]:
    event_data = event_outbox.changed_sessions(changed, {**data, "event_id": func.gen_random_uuid(type_=Uuid)})
    return select(changed.c.uuid).add_cte(event_outbox.session_event_statement(event_data).cte("event"))


def _delete_statement() -> Select[Any]:
    deleted = (
        delete(ChatSession)
        .where(_IS_OWNED, ChatSession.id == any_(_IDS))
        .returning(ChatSession.user_id, ChatSession.uuid, ChatSession.message_count)
        .cte("deleted")
    )
    return _with_events(deleted, {"message_count": deleted.c.message_count})


def _set_active_statement() -> Select[Any]:
    locked = _locked()
    is_active = bindparam("p_is_active", type_=Boolean)
    changed = (
        update(ChatSession)
        .where(ChatSession.id == locked.c.id, ChatSession.is_active != is_active)
        .values({ChatSession.is_active: is_active, ChatSession.updated_at: ChatSession.updated_at})
        .returning(ChatSession.user_id, ChatSession.uuid)
        .cte("changed")
    )
    return _with_events(changed, {"changed": literal(["is_archived"], JSONB)})


_LOCK = select(_locked())
_DELETE = _delete_statement()
_SET_ACTIVE = _set_active_statement()


async def find(
    connection: AsyncConnection, *, user_id: int, uuids: Sequence[UUID] | None, is_active: bool | None = None
) -> list[FoundSession]:
    """Return sessions of the user in the order of their keys, at most `MAX_SESSIONS`.

    `uuids`: public ids; None: all. `is_active`: only sessions that are, or are not, active; None: both.
    """
    # Sorted here: PostgreSQL might read the primary key, with the sessions of all users, for the order.
    if uuids is not None:
        rows = await connection.execute(_FIND_BY_UUID, {"p_user_id": user_id, "p_uuids": list(uuids)})
    elif is_active is not None:
        rows = await connection.execute(_FIND_BY_STATE, {"p_user_id": user_id, "p_is_active": is_active})
    else:
        rows = await connection.execute(_FIND, {"p_user_id": user_id})
    return sorted(FoundSession(*row) for row in rows)


async def remove(session: AsyncSession, ids: Sequence[int], *, user_id: int) -> DeletedSessions:
    """Delete sessions of the user with their messages. Ledger entries are kept. Return those that existed.

    Messages are deleted in several statements, because a statement has a time limit.
    """
    values = {"p_user_id": user_id, "p_ids": list(ids)}
    locked = (await session.execute(_LOCK, values)).all()
    if not locked:
        return DeletedSessions([], [])
    _, answer_uuids = await erasure.erase_messages(session, [(row.id, row.last_seq) for row in locked])
    values["p_ids"] = [row.id for row in locked]
    uuids = await session.scalars(_DELETE, values | event_outbox.types("session.deleted"))
    return DeletedSessions(list(uuids), answer_uuids)


async def set_active(connection: AsyncConnection, ids: Sequence[int], *, user_id: int, is_active: bool) -> int:
    """Archive sessions of the user, or undo it. Return the number of those whose state has changed."""
    values = {"p_user_id": user_id, "p_ids": list(ids), "p_is_active": is_active}
    changed = await connection.scalars(_SET_ACTIVE, values | event_outbox.types("session.updated"))
    return len(changed.all())
