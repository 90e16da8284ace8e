"""Queries for the active turn of a session and for finished turns."""

from uuid import UUID

from sqlalchemy import BigInteger, Uuid, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import aliased

from app.database import statements
from app.database.models import ChatMessage, ChatSession
from app.database.repositories.turns.turn_sql import IS_ACTIVE, OWNED_SESSION_ID, SESSION_MODEL
from app.database.repositories.turns.turns import Answer, NewTurn, StartedTurn, Turn, UpdatedSession
from app.database.statements import AnyConnection, Statement

_FIND_COMPLETED = Statement(
    select(ChatMessage.status, ChatSession.message_count, ChatSession.updated_at, ChatSession.title)
    .join(ChatSession, ChatMessage.session_id == ChatSession.id)
    .where(ChatMessage.uuid == bindparam("p_turn_id"))
)
_QUESTION = aliased(ChatMessage)
_PARENT = aliased(ChatMessage)
_COUNTED = aliased(ChatMessage)
_FIND_TURN = (
    select(
        ChatSession.id.label("session_id"),
        ChatSession.uuid.label("session_uuid"),
        ChatSession.meta.label("session_meta"),
        ChatSession.title,
        _QUESTION.uuid.label("question_uuid"),
        _QUESTION.depth.label("question_depth"),
        _PARENT.uuid.label("parent_uuid"),
        _QUESTION.created_at,
        _QUESTION.content.label("question"),
        _QUESTION.meta.label("question_meta"),
        ChatMessage.content,
        ChatMessage.status,
        ChatMessage.meta.label("answer_meta"),
        ChatMessage.tokens_used,
        ChatMessage.processing_time_ms,
        ChatMessage.updated_at,
        # The count at the end of this turn: the session may have continued.
        select(func.count())
        .where(_COUNTED.session_id == ChatMessage.session_id, _COUNTED.seq <= ChatMessage.seq)
        .scalar_subquery()
        .label("message_count"),
    )
    .join(_QUESTION, ChatMessage.parent_id == _QUESTION.id)
    .outerjoin(_PARENT, _QUESTION.parent_id == _PARENT.id)
    .join(ChatSession, ChatMessage.session_id == ChatSession.id)
    .where(ChatMessage.uuid == bindparam("p_turn_id"), ChatSession.user_id == bindparam("p_user_id"), ~IS_ACTIVE)
)
_FIND_STARTED = Statement(
    select(
        ChatSession.id,
        ChatSession.meta.label("metadata"),
        ChatSession.title,
        ChatSession.title_source,
        SESSION_MODEL.label("model"),
        _QUESTION.created_at,
        _QUESTION.depth,
        _PARENT.uuid.label("parent_uuid"),
    )
    .select_from(ChatMessage)
    .join(_QUESTION, ChatMessage.parent_id == _QUESTION.id)
    .outerjoin(_PARENT, _QUESTION.parent_id == _PARENT.id)
    .join(ChatSession, ChatMessage.session_id == ChatSession.id)
    .where(
        ChatMessage.uuid == bindparam("p_turn_id", type_=Uuid),
        ChatSession.user_id == bindparam("p_user_id", type_=BigInteger),
        IS_ACTIVE,
    )
)
_FIND_ACTIVE = select(ChatMessage.uuid).where(ChatMessage.session_id == OWNED_SESSION_ID.scalar_subquery(), IS_ACTIVE)


async def find_active(connection: AsyncConnection, *, user_id: int, session_uuid: UUID) -> UUID | None:
    """Return the public id of the active answer of a session. None: there is none."""
    answer_uuid: UUID | None = await connection.scalar(
        _FIND_ACTIVE, {"p_session_uuid": session_uuid, "p_user_id": user_id}
    )
    return answer_uuid


async def find_started(connection: AnyConnection, turn: NewTurn) -> StartedTurn | None:
    """Return an active turn as `start_turn` returned it. None: it was not stored, was deleted, or has ended."""
    values = {
        "p_turn_id": turn.answer_uuid,
        "p_user_id": turn.user_id,
        "p_session_models": list(turn.session_models),
    }
    row = await statements.fetch_one(connection, _FIND_STARTED, values)
    return StartedTurn.of(turn, row) if row else None


async def find_completed(connection: AnyConnection, turn: StartedTurn) -> tuple[str, UpdatedSession] | None:
    """Return the status of an answer, and its session. None: the answer was deleted."""
    row = await statements.fetch_one(connection, _FIND_COMPLETED, {"p_turn_id": turn.answer_uuid})
    return (row["status"], UpdatedSession(row["message_count"], row["updated_at"], row["title"])) if row else None


async def find_turn(connection: AsyncConnection, *, user_id: int, answer_uuid: UUID) -> Turn | None:
    """Return a finished turn of the user. None: it is active, or was deleted."""
    row = (await connection.execute(_FIND_TURN, {"p_user_id": user_id, "p_turn_id": answer_uuid})).one_or_none()
    if row is None:
        return None
    return Turn(
        StartedTurn(
            session_id=row.session_id,
            session_uuid=row.session_uuid,
            session_meta=row.session_meta,
            question_uuid=row.question_uuid,
            question_depth=row.question_depth,
            parent_uuid=row.parent_uuid,
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
        UpdatedSession(message_count=row.message_count, updated_at=row.updated_at, title=row.title),
    )
