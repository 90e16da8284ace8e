"""The hot path: what a turn writes and reads. Each function is one statement, each statement one transaction."""

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
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    column,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.database import driver
from app.database.connection import violated_constraint
from app.database.driver import AnyConnection, Statement, StatementRefusedError
from app.database.models import ChatMessage, ChatSession, User
from app.database.models.chat.chat_session import PREVIEW_LENGTH
from app.database.repositories.chat import idempotency_keys
from app.database.repositories.chat.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.database.repositories.usage import ledger
from app.database.repositories.usage.ledger import LedgerEntry
from app.database.repositories.webhooks import event_outbox

FinalStatus = Literal["complete", "failed", "cancelled", "interrupted"]


class ActiveTurnError(StatementRefusedError):
    """The session's last question is still being answered."""


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A question to store, with the place of its answer."""

    user_id: int
    session_uuid: UUID
    content: str
    meta: dict[str, Any]
    question_uuid: UUID
    answer_uuid: UUID
    lease: timedelta
    """How long its process may be silent before it is taken for dead."""
    key: IdempotentRequest | None = None
    """Taken with the turn, or neither is stored."""
    model: str | None = None
    """The one asked for, for whoever settles the turn should its process die."""


@dataclass(frozen=True, slots=True)
class StartedTurn:
    """A stored question, and the place of its answer."""

    session_id: int
    session_uuid: UUID
    session_meta: dict[str, Any]
    question_uuid: UUID
    question_seq: int
    answer_uuid: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What a turn ended with."""

    content: str
    status: FinalStatus
    meta: dict[str, Any]
    tokens_used: int
    processing_time_ms: int


@dataclass(frozen=True, slots=True)
class UpdatedSession:
    """The session after its answer was stored."""

    message_count: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that is over."""

    started: StartedTurn
    question: str
    question_meta: dict[str, Any]
    answer: Answer
    settled: UpdatedSession


# Written out, so that PostgreSQL can tell that the index of active answers serves, whatever the parameters.
ACTIVE = ChatMessage.status.in_([literal_column("'pending'"), literal_column("'streaming'")])
"""The answers that are under way."""


_OPEN_SESSION = (
    ChatSession.uuid == bindparam("p_session_uuid"),
    ChatSession.user_id == bindparam("p_user_id"),
    ChatSession.is_active,
)


def _key() -> CTE:
    # Its foreign keys lock the account and the session: the account goes first, as everywhere.
    owner = ledger.owner_statement()
    source = owner.join(ChatSession, and_(ChatSession.user_id == owner.c.id, *_OPEN_SESSION))
    columns = {"session_id": ChatSession.id, "turn_id": bindparam("p_answer_uuid", type_=Uuid)}
    return idempotency_keys.claim_statement(columns, source).cte("key")


def _start_statement(*conditions: ColumnElement[bool]) -> Select[Any]:
    session = (
        update(ChatSession)
        .where(*_OPEN_SESSION, *conditions)
        .values(
            last_seq=ChatSession.last_seq + 2,
            message_count=ChatSession.message_count + 2,
            last_message_preview=bindparam("p_preview"),
            last_message_at=func.now(),
            updated_at=func.now(),
        )
        .returning(ChatSession.id, ChatSession.last_seq, ChatSession.meta)
        .cte("session")
    )
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
                bindparam("p_answer_meta", type_=JSONB),
                func.now() + bindparam("p_lease", type_=Interval),
            ).select_from(session.join(question, true())),
        )
        .returning(ChatMessage.id)
        .cte("answer")
    )
    return select(session.c.id, session.c.last_seq, session.c.meta, question.c.created_at).select_from(
        session.join(question, true()).join(answer, true())
    )


def _complete_statement() -> Select[Any]:
    # The account before the session before its message, as everybody else who locks them: otherwise they could wait
    # for each other.
    owner = ledger.owner_statement()
    locked = (
        select(ChatSession.id)
        .where(ChatSession.id == bindparam("p_session_id"), ChatSession.user_id == owner.c.id)
        .with_for_update(of=ChatSession)
        .cte("locked")
    )
    answer = (
        update(ChatMessage)
        .where(ChatMessage.session_id == locked.c.id, ChatMessage.uuid == bindparam("p_turn_id"), ACTIVE)
        .values(
            content=bindparam("p_content"),
            status=bindparam("p_status"),
            meta=bindparam("p_meta"),
            tokens_used=bindparam("p_tokens_used"),
            processing_time_ms=bindparam("p_processing_time_ms"),
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
        .returning(ChatSession.message_count, ChatSession.updated_at)
        .cte("session")
    )
    # The ledger is written even where the answer has been deleted meanwhile: the tokens were spent.
    appended = ledger.append_statement(owner).cte("ledger")
    event = event_outbox.about_turn(answer).cte("event")
    return select(session.c.message_count, session.c.updated_at).add_cte(appended, event)


# Built once: a `Statement` is compiled already, and of the others SQLAlchemy finds the compiled form again.
_START = Statement(_start_statement())
_START_WITH_KEY = Statement(_start_statement(select(_key().c.id).exists()))
_COMPLETE = Statement(_complete_statement())
_OWNED_SESSION = select(ChatSession.id).where(
    ChatSession.uuid == bindparam("p_session_uuid"), ChatSession.user_id == bindparam("p_user_id")
)
_INTERRUPT = update(ChatMessage).values(
    status="interrupted", meta={"error": "interrupted"}, lease_expires_at=null(), updated_at=func.now()
)


def _interrupt_statement() -> Select[Any]:
    # The event refers to the account, which goes before its messages.
    owned = (
        select(ChatMessage.id)
        .join(ChatSession, ChatMessage.session_id == ChatSession.id)
        .join(User, ChatSession.user_id == User.id)
        .where(ChatMessage.uuid == bindparam("p_turn_id", type_=Uuid))
        .with_for_update(of=User, key_share=True, read=True)
        .cte("owned")
    )
    answer = _INTERRUPT.where(ChatMessage.id == owned.c.id, ACTIVE).returning(*event_outbox.OF_ANSWER).cte("answer")
    event = event_outbox.about_turn(answer).cte("event")
    return select(answer.c.uuid).add_cte(event, idempotency_keys.release_statement().cte("key"))


_INTERRUPT_STORED = _interrupt_statement()
_FIND_COMPLETED = Statement(
    select(ChatMessage.status, ChatSession.message_count, ChatSession.updated_at)
    .join(ChatSession, ChatMessage.session_id == ChatSession.id)
    .where(ChatMessage.uuid == bindparam("p_turn_id"))
)
_QUESTION = aliased(ChatMessage)
_COUNTED = aliased(ChatMessage)
_FIND_TURN = (
    select(
        ChatSession.id.label("session_id"),
        ChatSession.uuid.label("session_uuid"),
        ChatSession.meta.label("session_meta"),
        _QUESTION.uuid.label("question_uuid"),
        _QUESTION.seq.label("question_seq"),
        _QUESTION.created_at,
        _QUESTION.content.label("question"),
        _QUESTION.meta.label("question_meta"),
        ChatMessage.content,
        ChatMessage.status,
        ChatMessage.meta.label("answer_meta"),
        ChatMessage.tokens_used,
        ChatMessage.processing_time_ms,
        ChatMessage.updated_at,
        # As it was then: the session may have gone on.
        select(func.count())
        .where(_COUNTED.session_id == ChatMessage.session_id, _COUNTED.seq <= ChatMessage.seq)
        .scalar_subquery()
        .label("message_count"),
    )
    .join(_QUESTION, ChatMessage.parent_id == _QUESTION.id)
    .join(ChatSession, ChatMessage.session_id == ChatSession.id)
    .where(ChatMessage.uuid == bindparam("p_turn_id"), ChatSession.user_id == bindparam("p_user_id"), ~ACTIVE)
)
_LIVE = bindparam("p_turn_ids", type_=ARRAY(Uuid))
# A row that somebody has locked, to settle or delete it, needs no renewing; waiting for several could end in a circle.
_DUE = (
    select(ChatMessage.id)
    .where(
        ChatMessage.uuid == any_(_LIVE),
        ACTIVE,
        ChatMessage.lease_expires_at < func.now() + bindparam("p_renew_before", type_=Interval),
    )
    .with_for_update(skip_locked=True)
)
_RENEW = (
    update(ChatMessage)
    .where(ChatMessage.id.in_(_DUE))
    .values(lease_expires_at=func.now() + bindparam("p_lease", type_=Interval))
)
_RUNNING = func.unnest(_LIVE).table_valued(column("uuid", Uuid), name="running").render_derived()
_RENEW_LEASES = (
    select(_RUNNING.c.uuid)
    .select_from(_RUNNING.outerjoin(ChatMessage, ChatMessage.uuid == _RUNNING.c.uuid))
    .where(or_(ChatMessage.id.is_(None), and_(ACTIVE, ChatMessage.cancel_requested_at.is_not(None))))
    .add_cte(_RENEW.cte("renewed"))
)
_REQUEST_CANCEL = (
    update(ChatMessage)
    .where(
        ChatMessage.uuid == bindparam("p_turn_id"),
        ChatMessage.session_id == _OWNED_SESSION.scalar_subquery(),
        ACTIVE,
    )
    .values(cancel_requested_at=func.coalesce(ChatMessage.cancel_requested_at, func.now()))
)
_FIND_ACTIVE = select(ChatMessage.uuid).where(ChatMessage.session_id == _OWNED_SESSION.scalar_subquery(), ACTIVE)


async def start_turn(connection: AnyConnection, turn: NewTurn) -> StartedTurn | None:
    """Store a question and the pending answer. None: the caller owns no such session.

    Raises:
        ActiveTurnError: the database refused a second active turn in the session.
        KeyTakenError: the question came before under the same key.

    """
    try:
        row = await driver.fetch_one(
            connection,
            _START_WITH_KEY if turn.key else _START,
            {
                **(idempotency_keys.key_parameters(turn.key) if turn.key else {}),
                "p_session_uuid": turn.session_uuid,
                "p_user_id": turn.user_id,
                "p_preview": preview(turn.content),
                "p_question_uuid": turn.question_uuid,
                "p_answer_uuid": turn.answer_uuid,
                "p_content": turn.content,
                "p_meta": turn.meta,
                "p_answer_meta": {"model_requested": turn.model} if turn.model else {},
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
    )


async def complete_turn(
    connection: AnyConnection,
    turn: StartedTurn,
    answer: Answer,
    *,
    user_id: int,
    calls: Sequence[LedgerEntry],
) -> UpdatedSession | None:
    """Store the answer and append to the ledger. None: the answer was deleted, or settled by somebody else."""
    try:
        row = await driver.fetch_one(
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
                "p_preview": preview(answer.content),
                **event_outbox.parameters(event_outbox.TURN_ENDED[answer.status]),
            },
        )
    except (IntegrityError, UniqueViolationError) as error:
        # Whoever settled it has accounted for it, with the same or with estimates.
        if ledger.is_duplicate_turn(error):
            return None
        raise
    return UpdatedSession(**row) if row else None


async def interrupt_turn(connection: AsyncConnection, *, answer_uuid: UUID) -> None:
    """Mark an answer `interrupted` that nobody will make, if it was stored at all, and free the key of its question."""
    event = event_outbox.parameters("turn.interrupted")
    await connection.execute(_INTERRUPT_STORED, {"p_turn_id": answer_uuid, **event})


async def renew_leases(
    connection: AsyncConnection, *, turn_ids: Sequence[UUID], lease: timedelta, renew_before: timedelta
) -> set[UUID]:
    """Renew the leases of turns under way that end within `renew_before`, and return which turns are to be stopped.

    Those are the ones whose owner wants it, and those that have been deleted: nobody will read their answers.
    """
    rows = await connection.scalars(
        _RENEW_LEASES, {"p_turn_ids": list(turn_ids), "p_lease": lease, "p_renew_before": renew_before}
    )
    return set(rows)


async def request_cancel(connection: AsyncConnection, *, user_id: int, session_uuid: UUID, answer_uuid: UUID) -> None:
    """Note that an answer is to be stopped, if it is the owner's and still under way."""
    await connection.execute(
        _REQUEST_CANCEL, {"p_turn_id": answer_uuid, "p_session_uuid": session_uuid, "p_user_id": user_id}
    )


async def find_active(connection: AsyncConnection, *, user_id: int, session_uuid: UUID) -> UUID | None:
    """Return the public id of the answer that is being made."""
    found: UUID | None = await connection.scalar(_FIND_ACTIVE, {"p_session_uuid": session_uuid, "p_user_id": user_id})
    return found


async def find_completed(connection: AnyConnection, turn: StartedTurn) -> tuple[str, UpdatedSession] | None:
    """Return the status of an answer that is not under way any more, and its session. None: it was deleted."""
    row = await driver.fetch_one(connection, _FIND_COMPLETED, {"p_turn_id": turn.answer_uuid})
    return (row["status"], UpdatedSession(row["message_count"], row["updated_at"])) if row else None


async def find_turn(connection: AsyncConnection, *, user_id: int, answer_uuid: UUID) -> Turn | None:
    """Return a turn of the user's that is over. None: it is under way, or was deleted."""
    row = (await connection.execute(_FIND_TURN, {"p_user_id": user_id, "p_turn_id": answer_uuid})).one_or_none()
    if row is None:
        return None
    return Turn(
        StartedTurn(
            session_id=row.session_id,
            session_uuid=row.session_uuid,
            session_meta=row.session_meta,
            question_uuid=row.question_uuid,
            question_seq=row.question_seq,
            answer_uuid=answer_uuid,
            created_at=row.created_at,
        ),
        row.question,
        row.question_meta,
        Answer(
            content=row.content,
            status=row.status,
            meta=row.answer_meta,
            tokens_used=row.tokens_used,
            processing_time_ms=row.processing_time_ms,
        ),
        UpdatedSession(message_count=row.message_count, updated_at=row.updated_at),
    )


def preview(content: str) -> str:
    """Return what lists show of a message."""
    text = content.strip()
    return text if len(text) <= PREVIEW_LENGTH else f"{text[:PREVIEW_LENGTH]}…"
