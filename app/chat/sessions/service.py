"""Sessions of one user, and the shapes in which clients see them."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.chat.idempotency.service import IdempotencyService, SerializedResponse, serialize_response
from app.chat.schemas.messages import ChatRequest, DirectResponse, TurnResponse
from app.chat.schemas.sessions import SessionCreate, SessionCreated, SessionDetail, SessionList, SessionSummary
from app.chat.turns.presenters import direct_response, message_response, turn_response
from app.chat.turns.questions import QuestionBuilder
from app.chat.turns.runner import TurnRunner
from app.core.exceptions import NotFoundError
from app.core.types import Pagination
from app.database.connection import Database, DatabaseSession
from app.database.models import ChatSession
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat import idempotency_keys, sessions
from app.database.repositories.chat.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.chat.turns import Turn
from app.database.repositories.usage import totals
from app.services.redis.cache_purger import CachePurger
from app.services.usage_schemas import Usage, UserUsage

DEFAULT_TITLE = "New Chat"


@dataclass(frozen=True, slots=True)
class SessionService:
    """Decides what becomes of sessions. Every method takes the caller, or the id: another's session does not exist.

    What takes a key may raise what `IdempotencyService.again` raises.
    """

    database: Database
    turns: TurnRunner
    idempotency: IdempotencyService
    questions: QuestionBuilder
    cache_purger: CachePurger

    async def answer_directly(
        self, user: Principal, question: ChatRequest, key: IdempotentRequest | None
    ) -> DirectResponse | SerializedResponse:
        """Answer a question that belongs to no session. Neither is stored; under a key the answer is kept for a day.

        Raises:
            ServiceUnavailableError: this process is shutting down.

        """
        asked = self.questions.directly(user, question, key)
        try:
            answer = await self.turns.answer_directly(asked)
        except IdempotencyKeyTakenError as taken:
            return await self.idempotency.replay(taken)
        return (
            SerializedResponse.of(serialize_response(key, direct_response(answer))) if key else direct_response(answer)
        )

    async def ask(
        self, user: Principal, session_uuid: UUID, question: ChatRequest, key: IdempotentRequest | None
    ) -> TurnResponse | SerializedResponse:
        """Answer a question in a session.

        Raises:
            NotFoundError: the caller has no such session.
            ConflictError: its last question is still being answered.
            ServiceUnavailableError: this process is shutting down.

        """
        asked = self.questions.in_session(user, session_uuid, question, key)
        return await self.idempotency.respond_with_turn(self.turns.answer(asked), key, turn_response)

    async def create_session(
        self, user: Principal, new: SessionCreate, key: IdempotentRequest | None
    ) -> SessionCreated | SerializedResponse:
        """Store a session, and answer its first question if there is one.

        Raises:
            ServiceUnavailableError: this process is shutting down.

        """
        session = NewSession(title=new.title or DEFAULT_TITLE, meta=new.context or {})
        if new.initial_message is None:
            return await self._create_empty_session(user.id, session, key)
        asked = self.questions.first(user, session, new, key)
        return await self.idempotency.respond_with_turn(
            self.turns.answer(asked), key, lambda turn: _created_with_turn(turn, session.title), 201
        )

    async def _create_empty_session(
        self, user_id: int, new: NewSession, key: IdempotentRequest | None
    ) -> SessionCreated | SerializedResponse:
        try:
            async with self.database.transaction() as transaction:
                stored = await sessions.create(transaction, new, user_id=user_id)
                created = SessionCreated(**_session_fields(stored))
                if key is None:
                    return created
                response = serialize_response(key, created, 201)
                await idempotency_keys.claim_with_response(
                    await transaction.connection(), response, session_id=stored.id
                )
        except IdempotencyKeyTakenError as taken:
            return await self.idempotency.replay(taken)
        return SerializedResponse.of(response)

    async def list_sessions(
        self, transaction: DatabaseSession, user_id: int, *, page: int, size: int, search: str | None
    ) -> SessionList:
        """Return a page of sessions, last used first."""
        rows, total = await sessions.list_page(transaction, user_id=user_id, page=page, size=size, search=search)
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
        stored = await sessions.get(transaction, user_id=user_id, session_uuid=session_uuid)
        if stored is None:
            raise NotFoundError("Session not found.")
        used = await totals.session_totals(transaction, stored.id)
        detail = SessionDetail(**_session_fields(stored), usage=Usage.of(used))
        if message_limit is not None:
            rows = await sessions.newest_messages(transaction, session_id=stored.id, limit=message_limit)
            detail.messages = [
                message_response(row, lease_expiry_is_reliable=self.turns.store.recovery.lease_expiry_is_reliable)
                for row in rows
            ]
        return detail

    async def get_usage(self, transaction: DatabaseSession, user_id: int) -> UserUsage:
        """Return what a user has used up to now."""
        return UserUsage.of(await totals.user_totals(transaction, user_id))

    async def delete_session(self, user_id: int, session_uuid: UUID) -> None:
        """Delete a session and the text of its messages.

        Raises:
            NotFoundError: the caller has no such session.

        """
        async with self.database.transaction() as transaction:
            if not await sessions.remove(transaction, user_id=user_id, session_uuid=session_uuid):
                raise NotFoundError("Session not found.")
        await self.cache_purger.purge_session(session_uuid)


def _created_with_turn(turn: Turn, title: str) -> SessionCreated:
    shown = turn_response(turn)
    return SessionCreated(
        session_id=turn.started.session_uuid,
        title=title,
        context=turn.started.session_meta,
        created_at=turn.started.created_at,
        updated_at=shown.session_updated.updated_at,
        message_count=shown.session_updated.message_count,
        first_message=shown.user_message,
        ai_response=shown.ai_response,
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
