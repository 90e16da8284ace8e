"""Statements that start and complete a turn: the hot path, one statement and one transaction each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from asyncpg import UniqueViolationError
from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Interval,
    Select,
    String,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import IntegrityError

from app.database import statements
from app.database.connection import violated_constraint
from app.database.models import ChatMessage, ChatSession
from app.database.models.chat.chat_session import TitleSource
from app.database.repositories.chat import idempotency_keys
from app.database.repositories.chat.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.database.repositories.chat.turn_sql import IS_ACTIVE, message_preview
from app.database.repositories.usage import ledger
from app.database.repositories.usage.ledger import LedgerEntry
from app.database.repositories.webhooks import event_outbox
from app.database.statements import AnyConnection, Statement, StatementRefusedError

MessageStatus = Literal["pending", "streaming", "complete", "failed", "cancelled", "interrupted"]
"""Status of a message. A question is `complete`; an answer ends with a `FinalStatus`."""
FinalStatus = Literal["complete", "failed", "cancelled", "interrupted"]


class ActiveTurnError(StatementRefusedError):
    """The session has an active turn already."""


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A question to store, with the id of its answer."""

    user_id: int
    session_uuid: UUID
    content: str
    meta: dict[str, Any]
    question_uuid: UUID
    answer_uuid: UUID
    lease: timedelta
    """Time without renewal after which the turn is orphaned."""
    key: IdempotentRequest | None = None
    """Idempotency key, claimed in the same statement: either both are stored or neither."""
    model: str | None = None
    """Requested model, for the recovery of the turn if its process is killed."""
    session_models: Sequence[str] = ()
    """If the model of the session is one of these, it is used instead of `model`. Empty: the request names a model."""
    title: str | None = None
    """Title of the session if it has none yet. None: it stays without one."""


@dataclass(frozen=True, slots=True)
class StartedTurn:
    """A stored question, and the id of its pending answer."""

    session_id: int
    session_uuid: UUID
    session_meta: dict[str, Any]
    question_uuid: UUID
    question_seq: int
    answer_uuid: UUID
    created_at: datetime
    title: str = ""
    """Title of the session."""
    title_source: TitleSource = "user"
    model: str | None = None
    """Model of the session, if the question uses it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer."""

    content: str
    status: FinalStatus
    meta: dict[str, Any]
    tokens_used: int
    processing_time_ms: int


@dataclass(frozen=True, slots=True)
class UpdatedSession:
    """State of the session after an answer was stored."""

    message_count: int
    updated_at: datetime
    title: str


@dataclass(frozen=True, slots=True)
class Turn:
    """A finished turn."""

    started: StartedTurn
    question: str
    question_meta: dict[str, Any]
    answer: Answer
    session: UpdatedSession


_ACTIVE_SESSION = (
    ChatSession.uuid == bindparam("p_session_uuid"),
    ChatSession.user_id == bindparam("p_user_id"),
    ChatSession.is_active,
)
_NEW_TITLE = bindparam("p_title", type_=String)


def _claim_key() -> CTE:
    # The row's foreign keys lock the account and the session. Every transaction locks the account first.
    owner = ledger.owner_statement()
    source = owner.join(ChatSession, and_(ChatSession.user_id == owner.c.id, *_ACTIVE_SESSION))
    columns = {"session_id": ChatSession.id, "turn_id": bindparam("p_answer_uuid", type_=Uuid)}
    return idempotency_keys.claim_statement(columns, source).cte("key")


def _start_statement(*conditions: ColumnElement[bool]) -> Select[Any]:
    has_new_title = and_(ChatSession.title_source == literal_column("'default'"), _NEW_TITLE.is_not(None))
    session_models = bindparam("p_session_models", type_=ARRAY(String))
    session_model = case((ChatSession.model == any_(session_models), ChatSession.model))
    session = (
        update(ChatSession)
        .where(*_ACTIVE_SESSION, *conditions)
        .values(
            last_seq=ChatSession.last_seq + 2,
            message_count=ChatSession.message_count + 2,
            last_message_preview=bindparam("p_preview"),
            last_message_at=func.now(),
            updated_at=func.now(),
            title=case((has_new_title, _NEW_TITLE), else_=ChatSession.title),
            title_source=case((has_new_title, literal_column("'question'")), else_=ChatSession.title_source),
        )
        .returning(
            ChatSession.id,
            ChatSession.last_seq,
            ChatSession.meta,
            ChatSession.title,
            ChatSession.title_source,
            session_model.label("model"),
        )
        .cte("session")
    )
    model = func.coalesce(session.c.model, bindparam("p_model", type_=String))
    question = (
        insert(ChatMessage)
        .from_select(
            ["uuid", "session_id", "seq", "role", "content", "status", "metadata"],
            select(
                bindparam("p_question_uuid", type_=Uuid),
                session.c.id,
                session.c.last_seq - 1,
                literal("user"),
                bindparam("p_content", type_=Text),
                literal("complete"),
                bindparam("p_meta", type_=JSONB),
            ),
        )
        .returning(ChatMessage.id, ChatMessage.created_at)
        .cte("question")
    )
    answer = (
        insert(ChatMessage)
        .from_select(
            ["uuid", "session_id", "seq", "parent_id", "role", "content", "status", "metadata", "lease_expires_at"],
            select(
                bindparam("p_answer_uuid", type_=Uuid),
                session.c.id,
                session.c.last_seq,
                question.c.id,
                literal("assistant"),
                literal(""),
                literal("pending"),
                func.jsonb_strip_nulls(func.jsonb_build_object(literal_column("'model_requested'"), model)),
                func.now() + bindparam("p_lease", type_=Interval),
            ).select_from(session.join(question, true())),
        )
        .returning(ChatMessage.id)
        .cte("answer")
    )
    return select(session, question.c.created_at).select_from(session.join(question, true()).join(answer, true()))


def _complete_statement() -> Select[Any]:
    # Locks the account, then the session, then the message, as every transaction does, to avoid deadlocks.
    owner = ledger.owner_statement()
    locked = (
        select(ChatSession.id)
        .where(ChatSession.id == bindparam("p_session_id"), ChatSession.user_id == owner.c.id)
        .with_for_update(of=ChatSession)
        .cte("locked")
    )
    answer = (
        update(ChatMessage)
        .where(ChatMessage.session_id == locked.c.id, ChatMessage.uuid == bindparam("p_turn_id"), IS_ACTIVE)
        .values(
            content=bindparam("p_content"),
            status=bindparam("p_status"),
            meta=bindparam("p_meta"),
            tokens_used=bindparam("p_tokens_used"),
            processing_time_ms=bindparam("p_processing_time_ms"),
            lease_expires_at=null(),
            updated_at=func.now(),
        )
        .returning(*event_outbox.TURN_EVENT_COLUMNS)
        .cte("answer")
    )
    session = (
        update(ChatSession)
        .where(ChatSession.id == answer.c.session_id)
        .values(last_message_preview=bindparam("p_preview"), last_message_at=func.now(), updated_at=func.now())
        .returning(ChatSession.message_count, ChatSession.updated_at, ChatSession.title)
        .cte("session")
    )
    # The ledger is written even if the answer was deleted in the meantime: the tokens were used.
    appended = ledger.append_statement(owner).cte("ledger")
    event = event_outbox.turn_event_statement(answer).cte("event")
    return select(session).add_cte(appended, event)


# Compiled once, at import.
_START = Statement(_start_statement())
_START_WITH_KEY = Statement(_start_statement(select(_claim_key().c.id).exists()))
_COMPLETE = Statement(_complete_statement())


async def start_turn(connection: AnyConnection, turn: NewTurn) -> StartedTurn | None:
    """Store a question and its pending answer. None: the user has no active session with this id.

    Raises:
        ActiveTurnError: the session has an active turn.
        IdempotencyKeyTakenError: the key was claimed by an earlier request.

    """
    try:
        row = await statements.fetch_one(
            connection,
            _START_WITH_KEY if turn.key else _START,
            {
                **(idempotency_keys.key_parameters(turn.key) if turn.key else {}),
                "p_session_uuid": turn.session_uuid,
                "p_user_id": turn.user_id,
                "p_preview": message_preview(turn.content),
                "p_question_uuid": turn.question_uuid,
                "p_answer_uuid": turn.answer_uuid,
                "p_content": turn.content,
                "p_meta": turn.meta,
                "p_model": turn.model,
                "p_session_models": list(turn.session_models),
                "p_title": turn.title,
                "p_lease": turn.lease,
            },
        )
    except (IntegrityError, UniqueViolationError) as error:
        if violated_constraint(error) == "uq_chat_messages_session_id_active":
            raise ActiveTurnError from error
        raise
    if row is None:
        if turn.key and (stored := await idempotency_keys.find(connection, turn.key)):
            raise IdempotencyKeyTakenError(turn.key, stored)
        return None
    return StartedTurn(
        session_id=row["id"],
        session_uuid=turn.session_uuid,
        session_meta=row["metadata"],
        question_uuid=turn.question_uuid,
        question_seq=row["last_seq"] - 1,
        answer_uuid=turn.answer_uuid,
        created_at=row["created_at"],
        title=row["title"],
        title_source=row["title_source"],
        model=row["model"],
    )


async def complete_turn(
    connection: AnyConnection,
    turn: StartedTurn,
    answer: Answer,
    *,
    user_id: int,
    calls: Sequence[LedgerEntry],
) -> UpdatedSession | None:
    """Store the answer and append its calls to the ledger. None: the answer was deleted or is complete already."""
    try:
        row = await statements.fetch_one(
            connection,
            _COMPLETE,
            {
                **ledger.append_parameters(
                    turn_id=turn.answer_uuid, user_id=user_id, session_id=turn.session_id, calls=calls
                ),
                "p_content": answer.content,
                "p_status": answer.status,
                "p_meta": answer.meta,
                "p_tokens_used": answer.tokens_used,
                "p_processing_time_ms": answer.processing_time_ms,
                "p_preview": message_preview(answer.content),
                **event_outbox.parameters(event_outbox.TURN_EVENT_TYPES[answer.status]),
            },
        )
    except (IntegrityError, UniqueViolationError) as error:
        # The process that completed it has written the ledger, with the same numbers or with estimates.
        if ledger.is_duplicate_turn(error):
            return None
        raise
    return UpdatedSession(**row) if row else None
