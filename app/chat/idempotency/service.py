"""Requests with an `Idempotency-Key`: executed once, and replayed when they are repeated.

Only successful requests are stored. A refused request leaves no key behind, so that it may succeed later. The key of a
turn is stored by the statement that stores the turn, the key of an empty session in the session's transaction.
"""

from contextlib import suppress
from dataclasses import dataclass

from app.chat.idempotency.serialized_response import SerializedResponse, serialize_response
from app.chat.turns.question import FinishedTurn, Presenter, Question
from app.chat.turns.recovery import TurnRecovery
from app.core.exceptions import ConflictError, DatabaseUnavailableError, NotFoundError, UnprocessableError
from app.core.schema_types import ResponseModel
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.turns import idempotency_keys, turn_queries
from app.database.repositories.turns.idempotency_keys import (
    IdempotencyKeyTakenError,
    IdempotentRequest,
    StoredKey,
    StoredResponse,
)
from app.database.repositories.turns.turns import Turn

_RETRY_AFTER = 2
"""`Retry-After` in seconds while the first request is in progress."""


@dataclass(frozen=True, slots=True)
class IdempotencyService:
    """Stores the responses of keyed requests, and replays them."""

    database: Database
    recovery: TurnRecovery

    async def respond(self, question: Question, turn: FinishedTurn) -> ResponseModel | SerializedResponse:
        """Return the response of a finished turn; with a key, also store it."""
        response = question.presenter.response(turn)
        if question.key is None:
            return response
        stored = serialize_response(question.key, response, question.presenter.status_code)
        if isinstance(turn, Turn):  # the response of a direct question is stored with its ledger entries
            await self._store(stored, turn)
        return SerializedResponse.of(stored)

    async def replay(self, taken: IdempotencyKeyTakenError, presenter: Presenter | None = None) -> SerializedResponse:
        """Return the response of the first request with the key.

        If the response was never stored because the process was killed or the client disconnected, it is built with
        `presenter` from the stored turn.

        Raises:
            NotFoundError: the session or message that the first request created has been deleted.
            UnprocessableError: the first request had another body.
            ConflictError: the first request is still in progress.

        """
        stored = self.original_request(taken)
        if stored.status_code is not None and stored.response is not None:
            return SerializedResponse(stored.status_code, stored.response, is_replay=True)
        if presenter is None:
            raise _in_progress(stored)
        turn = await self.finished_turn(taken)
        response = serialize_response(taken.key, presenter.response(turn), presenter.status_code)
        await self._store(response, turn)
        return SerializedResponse.of(response, is_replay=True)

    async def find(self, key: IdempotentRequest) -> IdempotencyKeyTakenError:
        """Return the state of the first request with a key.

        Raises:
            NotFoundError: there was none within the last 24 hours.

        """
        stored = await self.find_stored(key)
        if stored is None:
            raise NotFoundError("No request with this key is known.", code="idempotency_key_unknown")
        return IdempotencyKeyTakenError(key, stored)

    async def find_stored(self, key: IdempotentRequest) -> StoredKey | None:
        """Return the state of the first request with a key within the last 24 hours. None: none, or it has failed."""
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return await idempotency_keys.find(connection, key)

    @staticmethod
    def original_request(taken: IdempotencyKeyTakenError) -> StoredKey:
        """Return the stored state of the first request with the key, which must have had the same body.

        Raises:
            NotFoundError: the resource that it created has been deleted.
            UnprocessableError: it had another body.

        """
        if taken.stored is None:
            raise NotFoundError("The resource that was created with this key has been deleted.")
        if taken.stored.fingerprint != taken.key.fingerprint:
            raise UnprocessableError("This key was used for another request.", code="idempotency_key_reused")
        return taken.stored

    async def finished_turn(self, taken: IdempotencyKeyTakenError) -> Turn:
        """Return the turn of the first request with the key.

        Raises:
            NotFoundError, UnprocessableError: see `original_request`.
            ConflictError: the turn is still in progress.

        """
        stored = self.original_request(taken)
        turn = await self._find_turn(taken.key, stored)
        if turn is None:
            raise _in_progress(stored)
        return turn

    async def _find_turn(self, key: IdempotentRequest, stored: StoredKey) -> Turn | None:
        if stored.turn_id is None or stored.session_uuid is None:
            return None
        if stored.is_orphaned:
            await self.recovery.recover_in_session(user_id=key.user_id, session_uuid=stored.session_uuid)
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return await turn_queries.find_turn(connection, user_id=key.user_id, answer_uuid=stored.turn_id)

    async def _store(self, response: StoredResponse, turn: Turn) -> None:
        # If PostgreSQL is not available nothing is lost: a replay builds the same bytes from the stored turn.
        with suppress(DatabaseUnavailableError):
            async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                await idempotency_keys.store_response(connection, response, turn_id=turn.started.answer_uuid)


def _in_progress(stored: StoredKey) -> ConflictError:
    return ConflictError(
        "The first request with this key is still in progress.",
        code="idempotency_in_progress",
        headers={"Retry-After": str(_RETRY_AFTER)},
        extra={"message_id": str(stored.turn_id)} if stored.session_uuid else {},
    )
