"""Sessions of one user, and the shapes in which clients see them."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.chat.schemas import (
    DirectResponse,
    MessageResponse,
    SessionCreate,
    SessionCreated,
    SessionDetail,
    SessionList,
    SessionSummary,
    SessionUpdated,
    TurnResponse,
)
from app.chat.turns import Turn, TurnRunner
from app.core.exceptions import NotFoundError
from app.core.types import Pagination
from app.database.connection import Database, DatabaseSession
from app.database.models import ChatSession
from app.database.repositories import chats
from app.database.repositories.chats import MessageRow
from app.database.repositories.turns import Answer

DEFAULT_TITLE = "New Chat"


@dataclass(frozen=True, slots=True)
class ChatService:
    """Decides what becomes of sessions. Every method takes the caller's id: another's session does not exist."""

    database: Database
    turns: TurnRunner

    async def create_session(self, user_id: int, new: SessionCreate) -> SessionCreated:
        """Store a session, and answer its first question if there is one."""
        async with self.database.transaction() as transaction:
            stored = await chats.create(
                transaction, user_id=user_id, title=new.title or DEFAULT_TITLE, meta=new.context or {}
            )
        created = SessionCreated(**_session_fields(stored))
        if new.initial_message is None:
            return created
        turn = turn_response(
            await self.turns.answer(
                user_id=user_id, session_uuid=stored.uuid, message=new.initial_message, context=None
            )
        )
        return created.model_copy(
            update={
                "message_count": turn.session_updated.message_count,
                "updated_at": turn.session_updated.updated_at,
                "first_message": turn.user_message,
                "ai_response": turn.ai_response,
            }
        )

    async def list_sessions(
        self, transaction: DatabaseSession, user_id: int, *, page: int, size: int, search: str | None
    ) -> SessionList:
        """Return a page of sessions, last used first."""
        rows, total = await chats.list_page(transaction, user_id=user_id, page=page, size=size, search=search)
        return SessionList(
            sessions=[
                SessionSummary(
                    session_id=row.uuid,
                    title=row.title,
                    created_at=row.created_at,
                    updated_at=row.updated_at,
                    message_count=row.message_count,
                    last_message_preview=row.last_message_preview,
                    last_message_timestamp=row.last_message_at,
                )
                for row in rows
            ],
            pagination=Pagination.of(total=total, page=page, size=size),
        )

    async def get_session(
        self, transaction: DatabaseSession, user_id: int, session_uuid: UUID, *, message_limit: int | None
    ) -> SessionDetail:
        """Return a session with its newest `message_limit` messages; None: without messages.

        Raises:
            NotFoundError: the caller has no such session.

        """
        stored = await chats.get(transaction, user_id=user_id, session_uuid=session_uuid)
        if stored is None:
            raise NotFoundError("Session not found.")
        detail = SessionDetail(**_session_fields(stored))
        if message_limit is not None:
            rows = await chats.newest_messages(transaction, session_id=stored.id, limit=message_limit)
            detail.messages = [_message(row) for row in rows]
        return detail

    async def delete_session(self, transaction: DatabaseSession, user_id: int, session_uuid: UUID) -> None:
        """Delete a session and the text of its messages.

        Raises:
            NotFoundError: the caller has no such session.

        """
        if not await chats.remove(transaction, user_id=user_id, session_uuid=session_uuid):
            raise NotFoundError("Session not found.")


def turn_response(turn: Turn) -> TurnResponse:
    """Return a finished turn as clients see it."""
    started, answer = turn.started, turn.answer
    return TurnResponse(
        user_message=MessageResponse(
            id=started.question_uuid,
            role="user",
            content=turn.question,
            status="complete",
            timestamp=started.created_at,
            metadata=turn.question_meta,
            tokens_used=0,
            processing_time_ms=0,
            parent_id=None,
        ),
        ai_response=MessageResponse(
            id=started.answer_uuid,
            role="assistant",
            content=answer.content,
            status=answer.status,
            timestamp=turn.settled.updated_at,
            metadata=answer.meta,
            tokens_used=answer.tokens_used,
            processing_time_ms=answer.processing_time_ms,
            parent_id=started.question_uuid,
        ),
        session_updated=SessionUpdated(message_count=turn.settled.message_count, updated_at=turn.settled.updated_at),
    )


def direct_response(answer: Answer) -> DirectResponse:
    """Return the answer to a direct question as clients see it."""
    return DirectResponse(
        response=answer.content,
        status=answer.status,
        timestamp=answer.meta["timestamp"],
        metadata=answer.meta,
        tokens_used=answer.tokens_used,
        processing_time_ms=answer.processing_time_ms,
    )


def _message(row: MessageRow) -> MessageResponse:
    message = row.message
    return MessageResponse.model_validate(
        {
            "id": message.uuid,
            "role": message.role,
            "content": message.content,
            "status": "interrupted" if row.is_abandoned else message.status,
            "timestamp": message.updated_at,
            "metadata": message.meta,
            "tokens_used": message.tokens_used,
            "processing_time_ms": message.processing_time_ms,
            "parent_id": row.parent_uuid,
        }
    )


def _session_fields(stored: ChatSession) -> dict[str, Any]:
    return {
        "session_id": stored.uuid,
        "title": stored.title,
        "context": stored.meta,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "message_count": stored.message_count,
    }
