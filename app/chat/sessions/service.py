"""Sessions of a user: create, list, read, delete."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.chat.idempotency.serialized_response import SerializedResponse, serialize_response
from app.chat.idempotency.service import IdempotencyService
from app.chat.schemas.sessions import SessionCreate, SessionCreated, SessionDetail, SessionList, SessionSummary
from app.chat.search.service import SearchService
from app.chat.streaming.resume import EventFrames
from app.chat.turns.presenters import message_response
from app.chat.turns.question_builder import QuestionBuilder
from app.chat.turns.recovery import TurnRecovery
from app.chat.turns.service import TurnService
from app.core.exceptions import NotFoundError
from app.core.schema_types import Pagination, ResponseModel
from app.database.connection import Database, DatabaseSession
from app.database.models import ChatSession
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat import idempotency_keys, sessions
from app.database.repositories.chat.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.usage import totals
from app.services.redis.deleted_session_purger import DeletedSessionPurger
from app.services.usage_schemas import Usage, UserUsage

DEFAULT_TITLE = "New Chat"


@dataclass(frozen=True, slots=True)
class SessionService:
    """Manages the sessions of a user. A session of another user does not exist for any method."""

    database: Database
    turns: TurnService
    recovery: TurnRecovery
    idempotency: IdempotencyService
    questions: QuestionBuilder
    deleted_session_purger: DeletedSessionPurger
    search: SearchService

    async def create_session(
        self, user: Principal, new: SessionCreate, key: IdempotentRequest | None
    ) -> ResponseModel | SerializedResponse | EventFrames:
        """Store a session, and answer `initial_message` if there is one.

        Raises:
            AppError: see `TurnService.ask`.

        """
        session = NewSession(title=new.title or DEFAULT_TITLE, meta=new.context or {})
        if new.initial_message is None:
            return await self._create_empty_session(user.id, session, key)
        return await self.turns.ask(self.questions.in_new_session(user, session, new, key), stream=False)

    async def list_sessions(
        self, transaction: DatabaseSession, user_id: int, *, page: int, size: int, search: str | None
    ) -> SessionList:
        """Return a page of sessions, the most recently used first."""
        matching = await self.search.find_sessions(user_id, search) if search else None
        rows, total = await sessions.list_page(transaction, user_id=user_id, page=page, size=size, matching=matching)
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
            NotFoundError: the user has no such session.

        """
        stored = await sessions.get(transaction, user_id=user_id, session_uuid=session_uuid)
        if stored is None:
            raise NotFoundError("Session not found.")
        usage = await totals.session_totals(transaction, stored.id)
        detail = SessionDetail(**_session_fields(stored), usage=Usage.of(usage))
        if message_limit is not None:
            rows = await sessions.list_newest_messages(transaction, session_id=stored.id, limit=message_limit)
            is_reliable = self.recovery.lease_expiry_is_reliable
            detail.messages = [message_response(row, lease_expiry_is_reliable=is_reliable) for row in rows]
        return detail

    async def get_usage(self, transaction: DatabaseSession, user_id: int) -> UserUsage:
        """Return the usage of a user up to now."""
        return UserUsage.of(await totals.user_totals(transaction, user_id))

    async def delete_session(self, user_id: int, session_uuid: UUID) -> None:
        """Delete a session with the text of its messages, in PostgreSQL and in Redis.

        Raises:
            NotFoundError: the user has no such session.

        """
        async with self.database.transaction() as transaction:
            if not await sessions.remove(transaction, user_id=user_id, session_uuid=session_uuid):
                raise NotFoundError("Session not found.")
        await self.deleted_session_purger.purge_session(session_uuid)

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
        except IdempotencyKeyTakenError as error:
            return await self.idempotency.replay(error)
        return SerializedResponse.of(response)


def _session_fields(stored: ChatSession) -> dict[str, Any]:
    return {
        "session_id": stored.uuid,
        "title": stored.title,
        "context": stored.meta,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "message_count": stored.message_count,
    }
