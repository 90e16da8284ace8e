"""Answers whose process has died: their lease is over, and nobody has settled them."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Interval,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    literal,
    null,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import ChatMessage, ChatSession, LlmCall
from app.database.repositories import ledger
from app.database.repositories.turns import preview


@dataclass(frozen=True, slots=True)
class AbandonedTurn:
    """An answer that nobody makes any more."""

    answer_uuid: UUID
    session_id: int
    user_id: int
    overdue: timedelta
    """Since its lease was over."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the ledger is told of an attempt that nobody lived to record."""

    model: str
    history_messages: int
    """Earlier messages that went with the question, at most."""


# Written out and not sent as parameters: it is the condition of the index that finds the few among all messages.
_ACTIVE = ChatMessage.status.in_(bindparam("p_active", ("pending", "streaming"), expanding=True, literal_execute=True))
_IS_ABANDONED = (_ACTIVE, ChatMessage.lease_expires_at < func.now())
_FIND = (
    select(
        ChatMessage.uuid,
        ChatMessage.session_id,
        ChatSession.user_id,
        type_coerce(func.now() - ChatMessage.lease_expires_at, Interval).label("overdue"),
    )
    .join(ChatSession, ChatMessage.session_id == ChatSession.id)
    .where(*_IS_ABANDONED)
)
_FIND_SOME = _FIND.order_by(ChatMessage.lease_expires_at).limit(bindparam("p_limit", type_=Integer))
_FIND_IN_SESSION = _FIND.where(
    ChatSession.uuid == bindparam("p_session_uuid"), ChatSession.user_id == bindparam("p_user_id")
)


def _estimated_tokens(characters: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.ceil(characters / 4.0), Integer)  # as `services/llm.py` where a provider counts nothing


def _settle_statement() -> Select[Any]:
    # Of several who settle the same answer the first one does: the others find it settled when they get the session.
    owner = ledger.owner_statement()
    locked = (
        select(ChatSession.id, owner.c.id.label("user_id"))
        .where(ChatSession.id == bindparam("p_session_id"), ChatSession.user_id == owner.c.id)
        .with_for_update(of=ChatSession)
        .cte("locked")
    )
    text = bindparam("p_content", type_=Text)
    answer = (
        update(ChatMessage)
        .where(ChatMessage.session_id == locked.c.id, ChatMessage.uuid == bindparam("p_turn_id"), *_IS_ABANDONED)
        .values(
            content=text,
            status="interrupted",
            meta={"error": "interrupted"},
            lease_expires_at=null(),
            updated_at=func.now(),
        )
        .returning(ChatMessage.session_id, ChatMessage.seq)
        .cte("answer")
    )
    session = (
        update(ChatSession)
        .where(ChatSession.id == answer.c.session_id)
        .values(last_message_preview=bindparam("p_preview"), last_message_at=func.now(), updated_at=func.now())
        .cte("session")
    )
    sent = (
        select(ChatMessage.content)
        .where(
            ChatMessage.session_id == answer.c.session_id,
            ChatMessage.seq < answer.c.seq,
            ChatMessage.status == "complete",
        )
        .order_by(ChatMessage.seq.desc())
        .limit(bindparam("p_sent_messages", type_=Integer))
        .lateral("sent")
    )
    call = (
        insert(LlmCall)
        .from_select(
            [
                "turn_id",
                "attempt",
                "user_id",
                "session_id",
                "model_requested",
                "status",
                "prompt_tokens",
                "completion_tokens",
                "is_estimated",
                "latency_ms",
            ],
            select(
                bindparam("p_turn_id", type_=Uuid),
                literal(1),
                locked.c.user_id,
                locked.c.id,
                bindparam("p_model", type_=Text),
                literal("cancelled"),
                _estimated_tokens(func.coalesce(func.sum(func.char_length(sent.c.content)), 0)),
                _estimated_tokens(func.char_length(text)),
                true(),
                literal(0),
            )
            .select_from(locked.join(answer, true()).outerjoin(sent, true()))
            .group_by(locked.c.user_id, locked.c.id),
        )
        # There is a row where only the answer could not be stored.
        .on_conflict_do_nothing(constraint="uq_llm_calls_turn_id_attempt")
        .cte("call")
    )
    return select(answer.c.session_id).add_cte(session, call)


_SETTLE = _settle_statement()


async def find_some(connection: AsyncConnection, *, limit: int) -> list[AbandonedTurn]:
    """Return the abandoned answers of all users, those first that have been so for longest."""
    return [AbandonedTurn(*row) for row in await connection.execute(_FIND_SOME, {"p_limit": limit})]


async def find_in_session(connection: AsyncConnection, *, user_id: int, session_uuid: UUID) -> AbandonedTurn | None:
    """Return the abandoned answer of a session, of which there is at most one."""
    parameters = {"p_user_id": user_id, "p_session_uuid": session_uuid}
    row = (await connection.execute(_FIND_IN_SESSION, parameters)).one_or_none()
    return AbandonedTurn(*row) if row else None


async def settle(connection: AsyncConnection, turn: AbandonedTurn, *, content: str, estimate: Estimate) -> bool:
    """Store an abandoned answer as interrupted, and what it will have cost. False: it is not abandoned any more."""
    settled = await connection.scalar(
        _SETTLE,
        {
            "p_turn_id": turn.answer_uuid,
            "p_session_id": turn.session_id,
            "p_user_id": turn.user_id,
            "p_content": content,
            "p_preview": preview(content),
            "p_model": estimate.model,
            "p_sent_messages": estimate.history_messages + 1,
        },
    )
    return settled is not None
