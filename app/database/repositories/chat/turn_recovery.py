"""Answers whose process has died: their lease is over, and nobody has settled them."""

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
from app.database.repositories.chat.turn_fragments import IS_ACTIVE, message_preview
from app.database.repositories.chat.turns import Answer
from app.database.repositories.usage import ledger
from app.database.repositories.usage.ledger import LedgerEntry
from app.database.repositories.webhooks import event_outbox


@dataclass(frozen=True, slots=True)
class OrphanedTurn:
    """An answer that nobody makes any more."""

    answer_uuid: UUID
    session_id: int
    user_id: int
    overdue: timedelta
    """Since its lease was over."""
    model: str | None
    """The one asked for."""
    sent_characters: int
    """Of the question and what went with it, as far as it is still there."""


_IS_ORPHANED = (IS_ACTIVE, ChatMessage.lease_expires_at < func.now())
_SENT = aliased(ChatMessage)
_sent_lengths = (
    select(func.char_length(_SENT.content).label("characters"))
    .where(_SENT.session_id == ChatMessage.session_id, _SENT.seq < ChatMessage.seq, _SENT.status == "complete")
    .order_by(_SENT.seq.desc())
    .limit(bindparam("p_sent_messages", type_=Integer))
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
_FIND_SOME = _FIND.order_by(ChatMessage.lease_expires_at).limit(bindparam("p_limit", type_=Integer))
_FIND_IN_SESSION = _FIND.where(
    ChatSession.uuid == bindparam("p_session_uuid"), ChatSession.user_id == bindparam("p_user_id")
)


def _interrupt_statement() -> Select[Any]:
    # Of several who settle the same answer the first one does: the others find it settled when they get the session.
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
        .returning(*event_outbox.OF_ANSWER)
        .cte("answer")
    )
    session = (
        update(ChatSession)
        .where(ChatSession.id == answer.c.session_id)
        .values(last_message_preview=bindparam("p_preview"), last_message_at=func.now(), updated_at=func.now())
        .cte("session")
    )
    # There is an account where the answer was made, and only storing it failed.
    calls = ledger.append_statement(owner, where_any=answer).cte("calls")
    event = event_outbox.about_turn(answer).cte("event")
    return select(answer.c.session_id).add_cte(session, calls, event)


_INTERRUPT = _interrupt_statement()


async def find_orphaned(connection: AsyncConnection, *, limit: int, sent_messages: int) -> list[OrphanedTurn]:
    """Return the abandoned answers of all users, those first that have been so for longest.

    `sent_messages`: how many messages, the question among them, a model was sent at most.
    """
    parameters = {"p_limit": limit, "p_sent_messages": sent_messages}
    return [OrphanedTurn(*row) for row in await connection.execute(_FIND_SOME, parameters)]


async def find_orphaned_in_session(
    connection: AsyncConnection, *, user_id: int, session_uuid: UUID, sent_messages: int
) -> OrphanedTurn | None:
    """Return the abandoned answer of a session, of which there is at most one. `sent_messages`: as `find_orphaned`."""
    parameters = {"p_user_id": user_id, "p_session_uuid": session_uuid, "p_sent_messages": sent_messages}
    row = (await connection.execute(_FIND_IN_SESSION, parameters)).one_or_none()
    return OrphanedTurn(*row) if row else None


async def interrupt_orphaned(
    connection: AsyncConnection, turn: OrphanedTurn, answer: Answer, call: LedgerEntry
) -> bool:
    """Store an abandoned answer, and what it will have cost. False: it is not abandoned any more."""
    settled = await connection.scalar(
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
            **event_outbox.parameters(event_outbox.TURN_ENDED[answer.status]),
        },
    )
    return settled is not None
