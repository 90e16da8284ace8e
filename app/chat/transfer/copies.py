"""Copies of sessions: duplicates with all branches, and forks that end at a message."""

import re
from contextlib import AsyncExitStack
from dataclasses import dataclass
from uuid import UUID

from app.chat.idempotency.serialized_response import SerializedResponse, serialize_response
from app.chat.idempotency.service import IdempotencyService
from app.chat.schemas.sessions import SessionResponse
from app.chat.schemas.transfer import SessionDuplicate
from app.chat.sessions.service import session_response
from app.core.exceptions import ConflictError, NotFoundError, UnprocessableError
from app.database.connection import Database, DatabaseSession
from app.database.repositories.chat import sessions
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.transfer import conversations, session_copies
from app.database.repositories.transfer.session_copies import SourceChangedError
from app.database.repositories.turns import idempotency_keys
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.services.limits.admission import expensive_operation
from app.services.limits.concurrency import ConcurrencyLimiter

MAX_MESSAGES = 100_000
"""Maximum number of messages of a copy, which is made in one transaction."""

_TIMEOUT = 60.0
_MAX_TITLE = 200
_SUFFIX = re.compile(r" \(copy(?: (\d{1,6}))?\)$")


@dataclass(frozen=True, slots=True)
class SessionCopyService:
    """Copies sessions of a user. Nothing is generated, so neither quotas nor the ledger are concerned."""

    database: Database
    idempotency: IdempotencyService
    user_limiter: ConcurrencyLimiter
    """Exports, imports and copies per account."""

    async def duplicate(
        self, user_id: int, session_uuid: UUID, request: SessionDuplicate, key: IdempotentRequest | None
    ) -> SessionResponse | SerializedResponse:
        """Copy a session, or the branch that ends at `message_id`.

        Raises:
            NotFoundError: the user has no such session, or it has no such message.
            ConflictError: messages of the session were deleted at the same time.
            UnprocessableError: it has more than `MAX_MESSAGES`.
            TooManyRequestsError: the user has too many copies, exports and imports at the same time.
            OverloadedError: the process makes too many copies.

        """
        async with AsyncExitStack() as stack:
            stack.enter_context(self.user_limiter.slot(user_id))
            await stack.enter_async_context(expensive_operation())
            try:
                # The time limit of a request is that of one statement; a long session takes several.
                async with self.database.transaction(max_seconds=_TIMEOUT) as transaction:
                    response, copy_id = await self._copy(transaction, user_id, session_uuid, request)
                    if key is None:
                        return response
                    stored = serialize_response(key, response, 201)
                    connection = await transaction.connection()
                    await idempotency_keys.claim_with_response(connection, stored, session_id=copy_id)
            except IdempotencyKeyTakenError as error:
                return await self.idempotency.replay(error)
            except SourceChangedError:
                raise ConflictError("The session was changed at the same time.", code="session_changed") from None
            return SerializedResponse.of(stored)

    @staticmethod
    async def _copy(
        transaction: DatabaseSession, user_id: int, session_uuid: UUID, request: SessionDuplicate
    ) -> tuple[SessionResponse, int]:
        connection = await transaction.connection()
        source = await conversations.find_session(connection, user_id=user_id, session_uuid=session_uuid)
        if source is None:
            raise NotFoundError("Session not found.")
        _check_length(source.message_count)
        active_seq: int | None = None
        if request.message_id is None:
            keys = await session_copies.list_all_keys(connection, source)
            active_seq = source.active_seq
        else:
            keys = await session_copies.list_branch_keys(connection, source, request.message_id)
            if not keys:
                raise NotFoundError("Message not found.")
        new = NewSession(title=request.title or copied_title(source.title), meta=dict(source.meta))
        copy = await sessions.create(transaction, new, user_id=user_id)
        await session_copies.copy_messages(connection, source, keys, session_id=copy.id)
        await session_copies.finish_copy(transaction, source, keys, session_id=copy.id, active_seq=active_seq)
        await transaction.refresh(copy)
        return session_response(copy), copy.id


def copied_title(title: str) -> str:
    """Return the title of a copy: `Trip (copy)`, then `Trip (copy 2)`, with at most 200 characters."""
    match = _SUFFIX.search(title)
    suffix = f" (copy {int(match[1] or 1) + 1})" if match else " (copy)"
    name = title[: match.start()] if match else title
    return name[: _MAX_TITLE - len(suffix)].rstrip() + suffix


def _check_length(message_count: int) -> None:
    if message_count > MAX_MESSAGES:
        raise UnprocessableError(
            f"A session with more than {MAX_MESSAGES} messages cannot be copied.", code="session_too_long"
        )
