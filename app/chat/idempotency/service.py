"""Requests that carry an `Idempotency-Key`: carried out once, and answered the same each time.

Only a success is remembered. A refusal leaves no key behind, so that the same request may succeed later: the key of a
turn is stored by the statement that stores the turn, and that of a session in the session's transaction.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TypeVar

from app.chat.turns.recovery import TurnRecovery
from app.core.exceptions import ConflictError, DatabaseUnavailableError, NotFoundError, UnprocessableError
from app.core.types import ResponseModel
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import idempotency_keys, turn_queries
from app.database.repositories.chat.idempotency_keys import (
    IdempotencyKeyTakenError,
    IdempotentRequest,
    StoredKey,
    StoredResponse,
)
from app.database.repositories.chat.turns import Turn

R = TypeVar("R", bound=ResponseModel)

_RETRY_AFTER = 2
"""Seconds after which a client may ask again for an answer that is being made."""


@dataclass(frozen=True, slots=True)
class SerializedResponse:
    """A response whose bytes are fixed."""

    status_code: int
    body: bytes
    media_type: str = "application/json"
    is_replay: bool = False

    @classmethod
    def of(cls, response: StoredResponse) -> Self:
        """Make the first reply, of what is kept for the next."""
        return cls(response.status_code, response.body)


def serialize_response(key: IdempotentRequest, response: ResponseModel, status_code: int = 200) -> StoredResponse:
    """Return what is kept of a response."""
    # Sorted: `jsonb` has an order of its own, and what is made of the stored turn must be the same to the byte.
    document = response.model_dump(mode="json", exclude_unset=True)
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return StoredResponse(key, status_code, body.encode())


@dataclass(frozen=True, slots=True)
class IdempotencyService:
    """What was answered under which key."""

    database: Database
    recovery: TurnRecovery

    async def respond_with_turn(
        self, turn: Awaitable[Turn], key: IdempotentRequest | None, show: Callable[[Turn], R], status_code: int = 200
    ) -> R | SerializedResponse:
        """Wait for a turn and show it, or the one that the key has stood for already.

        Raises:
            ConflictError: that one is under way.
            NotFoundError: it was deleted just now.
            UnprocessableError: its question was another one.

        """
        try:
            finished = await turn
        except IdempotencyKeyTakenError as taken:
            return await self.replay(taken, show, status_code)
        if key is None:
            return show(finished)
        response = serialize_response(key, show(finished), status_code)
        await self._store(response, finished)
        return SerializedResponse.of(response)

    async def replay(
        self,
        taken: IdempotencyKeyTakenError,
        show: Callable[[Turn], ResponseModel] | None = None,
        status_code: int = 200,
    ) -> SerializedResponse:
        """Answer as the first time.

        `show` makes the response of a turn that is over and was never shown: its process died, or its client had left.

        Raises:
            AppError: as `original_request`; or the request is still being carried out.

        """
        stored = self.original_request(taken)
        if stored.status_code is not None and stored.response is not None:
            return SerializedResponse(stored.status_code, stored.response, is_replay=True)
        if show is None:
            raise _in_progress(stored)
        turn = await self.finished_turn(taken)
        response = serialize_response(taken.key, show(turn), status_code)
        await self._store(response, turn)
        return SerializedResponse(response.status_code, response.body, is_replay=True)

    @staticmethod
    def original_request(taken: IdempotencyKeyTakenError) -> StoredKey:
        """Return what is known of the request that came first, which was the same.

        Raises:
            NotFoundError: what it made was deleted just now.
            UnprocessableError: it was another one.

        """
        if taken.stored is None:
            raise NotFoundError("What was created under this key has been deleted.")
        if taken.stored.fingerprint != taken.key.fingerprint:
            raise UnprocessableError("This key was used for another request.", code="idempotency_key_reused")
        return taken.stored

    async def finished_turn(self, taken: IdempotencyKeyTakenError) -> Turn:
        """Return the turn that the key stands for.

        Raises:
            AppError: as `original_request`.
            ConflictError: it is under way.

        """
        stored = self.original_request(taken)
        turn = await self._find(taken.key, stored)
        if turn is None:
            raise _in_progress(stored)
        return turn

    async def _find(self, key: IdempotentRequest, stored: StoredKey) -> Turn | None:
        if stored.turn_id is None or stored.session_uuid is None:
            return None
        if stored.is_orphaned:
            await self.recovery.recover_in_session(user_id=key.user_id, session_uuid=stored.session_uuid)
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return await turn_queries.find_turn(connection, user_id=key.user_id, answer_uuid=stored.turn_id)

    async def _store(self, response: StoredResponse, turn: Turn) -> None:
        # While PostgreSQL is away nothing is lost: the same bytes can be made of the stored turn.
        with suppress(DatabaseUnavailableError):
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await idempotency_keys.store_response(connection, response, turn_id=turn.started.answer_uuid)


def _in_progress(stored: StoredKey) -> ConflictError:
    return ConflictError(
        "The first request with this key is still being carried out.",
        code="idempotency_in_progress",
        headers={"Retry-After": str(_RETRY_AFTER)},
        extra={"message_id": str(stored.turn_id)} if stored.session_uuid else {},
    )
