"""Sessions of a user: create, read, change, delete."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.chat.idempotency.serialized_response import SerializedResponse, serialize_response
from app.chat.idempotency.service import IdempotencyService
from app.chat.schemas.sessions import (
    SessionCreate,
    SessionCreated,
    SessionDetail,
    SessionResponse,
    SessionUpdate,
    SessionWithSettings,
)
from app.chat.sessions.branches import BranchService
from app.chat.sessions.lists import session_settings
from app.chat.streaming.resume import EventFrames
from app.chat.titles.title_text import title_from_question
from app.chat.turns.question_builder import QuestionBuilder
from app.chat.turns.service import TurnService
from app.core.exceptions import NotFoundError
from app.core.schema_types import ResponseModel
from app.database.connection import Database, DatabaseSession
from app.database.models import ChatSession
from app.database.models.chat.chat_session import DEFAULT_TITLE
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat import sessions
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.turns import idempotency_keys
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.database.repositories.usage import totals
from app.database.repositories.webhooks import event_outbox
from app.database.repositories.webhooks.event_outbox import WebhookEvent
from app.services.redis.deleted_session_purger import DeletedSessionPurger
from app.services.usage_schemas import Usage, UsageByDay, UserUsage


@dataclass(frozen=True, slots=True)
class SessionService:
    """Manages the sessions of a user. A session of another user does not exist for any method."""

    database: Database
    turns: TurnService
    branches: BranchService
    idempotency: IdempotencyService
    questions: QuestionBuilder
    deleted_session_purger: DeletedSessionPurger

    async def create_session(
        self, user: Principal, new: SessionCreate, key: IdempotentRequest | None
    ) -> ResponseModel | SerializedResponse | EventFrames:
        """Store a session, and answer `initial_message` if there is one.

        Raises:
            AppError: see `TurnService.ask`.

        """
        session = _new_session(new)
        if new.initial_message is None:
            return await self._create_empty_session(user.id, session, key)
        return await self.turns.ask(self.questions.in_new_session(user, session, new, key), stream=False)

    async def get_session(
        self, transaction: DatabaseSession, user_id: int, session_uuid: UUID, *, message_limit: int | None
    ) -> SessionDetail:
        """Return a session with the newest `message_limit` messages of its active branch; None: without messages.

        Raises:
            NotFoundError: the user has no such session.

        """
        stored = await sessions.get(transaction, user_id=user_id, session_uuid=session_uuid)
        if stored is None:
            raise NotFoundError("Session not found.")
        usage = await totals.session_totals(transaction, stored.id)
        detail = SessionDetail(**_session_fields(stored), **session_settings(stored), usage=Usage.of(usage))
        if message_limit is not None:
            detail.messages = await self.branches.newest_messages(transaction, stored.id, limit=message_limit)
        return detail

    async def get_usage(self, transaction: DatabaseSession, user_id: int) -> UserUsage:
        """Return the usage of a user up to now."""
        return UserUsage.of(await totals.user_totals(transaction, user_id))

    async def get_usage_by_day(self, transaction: DatabaseSession, user_id: int, days: int) -> UsageByDay:
        """Return the usage of a user on each of the last days in UTC, today included."""
        return UsageByDay.of(await totals.daily_totals(transaction, user_id, days), datetime.now(UTC).date(), days)

    async def update_session(
        self, transaction: DatabaseSession, user: Principal, session_uuid: UUID, update: SessionUpdate
    ) -> SessionWithSettings:
        """Change a session, and emit an event if anything differs. Its place in lists remains.

        Raises:
            InvalidFieldError: the model is not allowed.
            NotFoundError: the user has no such session.

        """
        fields = update.model_dump(exclude_unset=True)
        if (model := fields.get("model")) is not None:
            self.questions.check_model(model)
        stored = await sessions.lock(transaction, user_id=user.id, session_uuid=session_uuid)
        if stored is None:
            raise NotFoundError("Session not found.")
        values = dict(_columns(fields))
        if any(getattr(stored, name) != value for name, value in values.items()):
            before = {"title": stored.title, "context": stored.meta, **session_settings(stored)}
            await sessions.change(transaction, stored, values)
            changed = sorted(name for name in fields if fields[name] != before[name])
            data = {"user_id": str(user.uuid), "session_id": str(session_uuid), "changed": changed}
            if changed:
                await event_outbox.emit(transaction, WebhookEvent("session.updated", data, user_id=user.id))
        return SessionWithSettings(**_session_fields(stored), **session_settings(stored))

    async def delete_session(self, user_id: int, session_uuid: UUID) -> None:
        """Delete a session with the text of its messages, in PostgreSQL and in Redis.

        Raises:
            NotFoundError: the user has no such session.

        """
        async with self.database.transaction() as transaction:
            deleted = await sessions.remove(transaction, user_id=user_id, session_uuid=session_uuid)
            if deleted is None:
                raise NotFoundError("Session not found.")
        await self.deleted_session_purger.purge_sessions(deleted.uuids, deleted.answer_uuids)

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


def session_response(stored: ChatSession) -> SessionResponse:
    """Return a session without its messages."""
    return SessionResponse(**_session_fields(stored))


def _new_session(new: SessionCreate) -> NewSession:
    context = new.context or {}
    if new.title is not None:
        return NewSession(new.title, context)
    title = title_from_question(new.initial_message) if new.initial_message is not None else None
    return NewSession(title or DEFAULT_TITLE, context, "question" if title else "default")


def _columns(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        match name:
            case "title":
                yield from (("title", value), ("title_source", "user"))
            case "context":
                yield "meta", value
            case "is_archived":
                yield "is_active", not value
            case _:
                yield name, value


def _session_fields(stored: ChatSession) -> dict[str, Any]:
    return {
        "session_id": stored.uuid,
        "title": stored.title,
        "context": stored.meta,
        "created_at": stored.created_at,
        "updated_at": stored.updated_at,
        "message_count": stored.message_count,
    }
