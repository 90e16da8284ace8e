"""Turns as they are stored, and the statement that completes one. `turn_start.py` has the one that starts it.

Both are on the hot path: one statement and one transaction each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self
from uuid import UUID

from asyncpg import UniqueViolationError
from sqlalchemy import (
    Select,
    bindparam,
    func,
    null,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from app.database import statements
from app.database.models import ChatMessage, ChatSession
from app.database.models.chat.chat_session import TitleSource
from app.database.repositories.turns.idempotency_keys import IdempotentRequest
from app.database.repositories.turns.turn_sql import IS_ACTIVE, last_message_values, message_preview
from app.database.repositories.usage import ledger
from app.database.repositories.usage.ledger import LedgerEntry
from app.database.repositories.webhooks import event_outbox
from app.database.statements import AnyConnection, Row, Statement, StatementRefusedError

MessageStatus = Literal["pending", "streaming", "complete", "failed", "cancelled", "interrupted"]
"""Status of a message. A question is `complete`; an answer ends with a `FinalStatus`."""
FinalStatus = Literal["complete", "failed", "cancelled", "interrupted"]


class ActiveTurnError(StatementRefusedError):
    """The session has an active turn already."""


@dataclass(frozen=True, slots=True)
class TurnPlace:
    """Where a turn belongs in the message tree of its session."""

    kind: Literal["end", "after", "beginning", "another_answer"]
    """At the end of the active branch; after an answer; as a first question; as another answer to a question."""
    message_uuid: UUID | None = None
    """The answer that the question follows, or the question to answer once more. None for the other kinds."""


END_OF_BRANCH = TurnPlace("end")


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
    place: TurnPlace = END_OF_BRANCH
    """For another answer, the question is stored already: `question_uuid` names it, its content is not stored."""
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
    question_depth: int
    """Position of the question in its branch, starting at 1."""
    parent_uuid: UUID | None
    """The message that the question follows."""
    answer_uuid: UUID
    created_at: datetime
    """When the question was stored."""
    title: str = ""
    """Title of the session."""
    title_source: TitleSource = "user"
    model: str | None = None
    """Model of the session, if the question uses it."""

    @classmethod
    def of(cls, turn: NewTurn, row: Row) -> Self:
        """Return a turn with the values that PostgreSQL has given it."""
        return cls(
            session_id=row["id"],
            session_uuid=turn.session_uuid,
            session_meta=row["metadata"],
            question_uuid=turn.question_uuid,
            question_depth=row["depth"],
            parent_uuid=row["parent_uuid"],
            answer_uuid=turn.answer_uuid,
            created_at=row["created_at"],
            title=row["title"],
            title_source=row["title_source"],
            model=row["model"],
        )


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
        .values(**last_message_values())
        .returning(ChatSession.message_count, ChatSession.updated_at, ChatSession.title)
        .cte("session")
    )
    # The ledger is written even if the answer was deleted in the meantime: the tokens were used.
    appended = ledger.append_statement(owner).cte("ledger")
    event = event_outbox.turn_event_statement(answer).cte("event")
    return select(session).add_cte(appended, event)


# Compiled once, at import.
_COMPLETE = Statement(_complete_statement())


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
