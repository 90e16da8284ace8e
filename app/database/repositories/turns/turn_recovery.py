"""Statements that find and interrupt orphaned turns, whose process was killed and whose lease has expired."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Integer,
    Interval,
    Select,
    bindparam,
    func,
    null,
    select,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.database.models import ChatMessage, ChatSession
from app.database.repositories.turns.turn_sql import IS_ACTIVE, last_message_values, message_preview
from app.database.repositories.turns.turns import Answer
from app.database.repositories.usage import ledger
from app.database.repositories.usage.ledger import LedgerEntry
from app.database.repositories.webhooks import event_outbox


@dataclass(frozen=True, slots=True)
class OrphanedTurn:
    """An active answer whose lease has expired."""

    answer_uuid: UUID
    session_id: int
    user_id: int
    overdue: timedelta
    """Time since the lease expired."""
    model: str | None
    """Requested model."""
    sent_characters: int
    """Number of characters of the question and the history that were sent with it, as far as they are still stored."""


_IS_ORPHANED = (IS_ACTIVE, ChatMessage.lease_expires_at < func.now())
_SENT = aliased(ChatMessage)
# The messages of its branch just before it. Those of incomplete answers among them are not sent.
_sent_depth = func.generate_series(
    func.greatest(1, ChatMessage.depth - bindparam("p_sent_messages", type_=Integer)), ChatMessage.depth - 1
).column_valued("sent_depth")
_sent_lengths = (
    select(func.char_length(_SENT.content).label("characters"))
    .where(
        _SENT.id.in_(select(func.chat_message_ancestor(ChatMessage.id, _sent_depth)).correlate(ChatMessage)),
        _SENT.status == "complete",
    )
    .correlate(ChatMessage)
    .subquery("sent")
)
_FIND = (
    select(
        ChatMessage.uuid,
        ChatMessage.session_id,
        ChatSession.user_id,
        type_coerce(func.now() - ChatMessage.lease_expires_at, Interval).label("overdue"),
        ChatMessage.meta["model_requested"].astext.label("model"),
        select(func.coalesce(func.sum(_sent_lengths.c.characters), 0)).scalar_subquery().label("sent_characters"),
    )
    .join(ChatSession, ChatMessage.session_id == ChatSession.id)
    .where(*_IS_ORPHANED)
)
_FIND_BATCH = _FIND.order_by(ChatMessage.lease_expires_at).limit(bindparam("p_limit", type_=Integer))
_FIND_IN_SESSION = _FIND.where(
    ChatSession.uuid == bindparam("p_session_uuid"), ChatSession.user_id == bindparam("p_user_id")
)


def _interrupt_statement() -> Select[Any]:
    # The lock on the session serializes concurrent recoveries: only the first one finds the answer orphaned.
    owner = ledger.owner_statement()
    locked = (
        select(ChatSession.id, owner.c.id.label("user_id"))
        .where(ChatSession.id == bindparam("p_session_id"), ChatSession.user_id == owner.c.id)
        .with_for_update(of=ChatSession)
        .cte("locked")
    )
    answer = (
        update(ChatMessage)
        .where(ChatMessage.session_id == locked.c.id, ChatMessage.uuid == bindparam("p_turn_id"), *_IS_ORPHANED)
        .values(
            content=bindparam("p_content"),
            status=bindparam("p_status"),
            meta=bindparam("p_meta"),
            tokens_used=bindparam("p_tokens_used"),
            lease_expires_at=null(),
            updated_at=func.now(),
        )
        .returning(*event_outbox.TURN_EVENT_COLUMNS)
        .cte("answer")
    )
    session = (
        update(ChatSession).where(ChatSession.id == answer.c.session_id).values(**last_message_values()).cte("session")
    )
    # The answer may have been generated, and only storing it may have failed: its calls are recorded.
    calls = ledger.append_statement(owner, where_any=answer).cte("calls")
    event = event_outbox.turn_event_statement(answer).cte("event")
    return select(answer.c.session_id).add_cte(session, calls, event)


_INTERRUPT = _interrupt_statement()


async def find_orphaned(connection: AsyncConnection, *, limit: int, sent_messages: int) -> list[OrphanedTurn]:
    """Return up to `limit` orphaned answers of all users, in the order in which their leases expired.

    `sent_messages`: maximum number of messages that are sent to a model, including the question.
    """
    parameters = {"p_limit": limit, "p_sent_messages": sent_messages}
    return [OrphanedTurn(*row) for row in await connection.execute(_FIND_BATCH, parameters)]


async def find_orphaned_in_session(
    connection: AsyncConnection, *, user_id: int, session_uuid: UUID, sent_messages: int
) -> OrphanedTurn | None:
    """Return the orphaned answer of a session. None: there is none. `sent_messages`: as in `find_orphaned`."""
    parameters = {"p_user_id": user_id, "p_session_uuid": session_uuid, "p_sent_messages": sent_messages}
    row = (await connection.execute(_FIND_IN_SESSION, parameters)).one_or_none()
    return OrphanedTurn(*row) if row else None


async def interrupt_orphaned(
    connection: AsyncConnection, turn: OrphanedTurn, answer: Answer, call: LedgerEntry
) -> bool:
    """Store an orphaned answer and its estimated usage. False: it is no longer orphaned."""
    session_id = await connection.scalar(
        _INTERRUPT,
        {
            **ledger.append_parameters(
                turn_id=turn.answer_uuid, user_id=turn.user_id, session_id=turn.session_id, calls=[call]
            ),
            "p_content": answer.content,
            "p_status": answer.status,
            "p_meta": answer.meta,
            "p_tokens_used": answer.tokens_used,
            "p_preview": message_preview(answer.content),
            **event_outbox.parameters(event_outbox.TURN_EVENT_TYPES[answer.status]),
        },
    )
    return session_id is not None
