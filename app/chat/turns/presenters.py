"""Response models and stream endings of turns and messages."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.chat.schemas.messages import DirectResponse, MessageResponse, SessionUpdated, TurnResponse
from app.chat.schemas.sessions import SessionCreated
from app.chat.streaming.answer_text import Ending
from app.chat.turns.question import DirectTurn, FinishedTurn
from app.database.repositories.chat.sessions import MessageRow
from app.database.repositories.turns.turns import StartedTurn, Turn


def turn_response(turn: Turn) -> TurnResponse:
    """Return a turn in an existing session."""
    return TurnResponse(
        user_message=question_message(turn.started, turn.question, turn.question_meta),
        ai_response=answer_message(turn),
        session_updated=SessionUpdated(message_count=turn.session.message_count, updated_at=turn.session.updated_at),
    )


def session_with_turn(turn: Turn, *, title: str) -> SessionCreated:
    """Return a new session with its first turn."""
    return SessionCreated(
        session_id=turn.started.session_uuid,
        title=title,
        context=turn.started.session_meta,
        created_at=turn.started.created_at,
        updated_at=turn.session.updated_at,
        message_count=turn.session.message_count,
        first_message=question_message(turn.started, turn.question, turn.question_meta),
        ai_response=answer_message(turn),
    )


def direct_response(turn: DirectTurn) -> DirectResponse:
    """Return the answer to a direct question."""
    answer = turn.answer
    return DirectResponse(
        response=answer.content,
        status=answer.status,
        timestamp=answer.meta["timestamp"],
        metadata=answer.meta,
        tokens_used=answer.tokens_used,
        processing_time_ms=answer.processing_time_ms,
    )


def question_message(started: StartedTurn, question: str, meta: dict[str, Any]) -> MessageResponse:
    """Return a question that has just been stored."""
    return MessageResponse(
        id=started.question_uuid,
        role="user",
        content=question,
        status="complete",
        timestamp=started.created_at,
        metadata=meta,
        tokens_used=0,
        processing_time_ms=0,
        parent_id=started.parent_uuid,
        feedback=None,
    )


def answer_message(turn: FinishedTurn) -> MessageResponse:
    """Return the answer of a turn."""
    if isinstance(turn, DirectTurn):
        return direct_message(turn.id, direct_response(turn))
    answer = turn.answer
    return MessageResponse(
        id=turn.started.answer_uuid,
        role="assistant",
        content=answer.content,
        status=answer.status,
        timestamp=turn.session.updated_at,
        metadata=answer.meta,
        tokens_used=answer.tokens_used,
        processing_time_ms=answer.processing_time_ms,
        parent_id=turn.started.question_uuid,
        feedback=None,
    )


def direct_message(answer_id: UUID, response: DirectResponse) -> MessageResponse:
    """Return the answer to a direct question as a message, for its event stream."""
    return MessageResponse(
        id=answer_id,
        role="assistant",
        content=response.response,
        status=response.status,
        timestamp=response.timestamp,
        metadata=response.metadata,
        tokens_used=response.tokens_used,
        processing_time_ms=response.processing_time_ms,
        parent_id=None,
        feedback=None,
    )


def message_response(row: MessageRow, *, lease_expiry_is_reliable: bool = True) -> MessageResponse:
    """Return a stored message. An orphaned answer is shown as interrupted; see `TurnRecovery`."""
    message = row.message
    return MessageResponse.model_validate(
        {
            "id": message.uuid,
            "role": message.role,
            "content": message.content,
            "status": "interrupted" if row.is_orphaned and lease_expiry_is_reliable else message.status,
            "timestamp": message.updated_at,
            "metadata": message.meta,
            "tokens_used": message.tokens_used,
            "processing_time_ms": message.processing_time_ms,
            "parent_id": row.parent_uuid,
            "feedback": row.feedback,
        }
    )


def stream_ending(message: MessageResponse, *, title: str | None = None) -> Ending:
    """Return the ending of the stream of a completed answer. `title`: that of the session, if there is one."""
    return Ending(message, code=message.metadata.get("error"), title=title)


def unstored_message(message_id: UUID, text: str, parent_id: UUID | None) -> MessageResponse:
    """Return an answer that could not be stored, with the text that was published."""
    return MessageResponse(
        id=message_id,
        role="assistant",
        content=text,
        status="failed",
        timestamp=datetime.now(UTC),
        metadata={},
        tokens_used=0,
        processing_time_ms=0,
        parent_id=parent_id,
        feedback=None,
    )
