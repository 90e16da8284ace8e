"""Storage of turns: the question with a pending answer, then the answer with its ledger entries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from app.chat.idempotency.serialized_response import serialize_response
from app.chat.turns.graph_run import GraphResult
from app.chat.turns.question import DirectTurn, FinishedTurn, Question
from app.chat.turns.recovery import TurnRecovery
from app.core.exceptions import (
    ConflictError,
    DatabaseUnavailableError,
    InvalidFieldError,
    NotFoundError,
    ServiceUnavailableError,
    TooManyRequestsError,
)
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import sessions
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.turns import idempotency_keys, turn_queries, turn_start, turns
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError
from app.database.repositories.turns.turn_start import MAX_SIBLINGS, Refusal
from app.database.repositories.turns.turns import ActiveTurnError, NewTurn, StartedTurn, Turn, UpdatedSession
from app.database.repositories.usage import ledger
from app.database.retry_until_available import retry_until_available
from app.services.limits.quotas import QuotaService

_CONCURRENT_STORES = 8
"""Answers that a process stores at the same time. When many end together, requests still get connections."""
_MAX_STARTS = 20
"""Attempts to store a question while other requests change the end of its session."""


@dataclass(frozen=True, slots=True)
class TurnStore:
    """Starts and completes turns in PostgreSQL."""

    database: Database
    recovery: TurnRecovery
    quotas: QuotaService
    _storing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENT_STORES))

    async def start(self, question: Question, new: NewTurn, *, max_duration: timedelta) -> StartedTurn:
        """Store a question and its pending answer. The quota is reserved for at most `max_duration`.

        Raises:
            IdempotencyKeyTakenError: a request with the same key came first.
            NotFoundError: the user has no such session, or it has no such question.
            InvalidFieldError: the session has no such answer for the question to follow.
            ConflictError: the session is archived or has an active turn, or the question or the answer has too many
                versions.
            TooManyRequestsError: the quota is used up.
            DatabaseUnavailableError: PostgreSQL did not confirm in time. Either all is stored or nothing; see
                `find_unconfirmed`.

        """
        # A missing session is an error inside the blocks: the reservation is released, and a new session rolled back.
        async with self._reserved_quota(question, new.answer_uuid, max_duration):
            if isinstance(question.session, NewSession):
                async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
                    await sessions.create(transaction, question.session, user_id=question.user.id)
                    return _require_started(await turn_start.start_turn(await transaction.connection(), new))
            return await self._start_in_session(new)

    async def start_direct(
        self, question: Question, turn_id: UUID, *, max_duration: timedelta, key_lease: timedelta
    ) -> None:
        """Claim the idempotency key of a direct question, if it has one, for at most `key_lease`.

        Raises:
            IdempotencyKeyTakenError: a request with the same key came first.
            TooManyRequestsError: the quota is used up.

        """
        async with self._reserved_quota(question, turn_id, max_duration):
            if question.key is not None:
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    await idempotency_keys.claim_for_direct_question(
                        connection, question.key, turn_id=turn_id, lease=key_lease
                    )

    async def find_unconfirmed(self, question: Question, new: NewTurn) -> StartedTurn | None:
        """Return a turn of which `start` does not know whether it was stored. None: it was not.

        Raises:
            DatabaseUnavailableError: PostgreSQL is not available.

        """
        async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            started = await turn_queries.find_started(connection, new)
            if started is None and new.key is not None:
                await idempotency_keys.release_refused(connection, new.key, turn_id=new.answer_uuid)
        if started is None and question.budget is not None:
            await self.quotas.release(new.answer_uuid)
        return started

    async def release_direct(self, question: Question, turn_id: UUID) -> None:
        """Release key and quota of a direct question of which `start_direct` does not know whether they are claimed.

        Raises:
            DatabaseUnavailableError: PostgreSQL is not available.

        """
        if question.key is not None:
            async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
                await idempotency_keys.release(connection, question.key, turn_id=turn_id)
        if question.budget is not None:
            await self.quotas.release(turn_id)

    async def complete(
        self, question: Question, started: StartedTurn | None, turn_id: UUID, result: GraphResult
    ) -> FinishedTurn:
        """Store the answer and its ledger entries; of a direct question, the ledger entries and the keyed response.

        Retries while PostgreSQL is not available, for at most `STORE_TIMEOUT` seconds.

        Raises:
            NotFoundError: the session was deleted in the meantime.
            ConflictError: the turn was recovered as orphaned in the meantime.
            DatabaseUnavailableError: PostgreSQL was not available for too long.

        """
        turn: FinishedTurn
        if started is None:
            turn = DirectTurn(turn_id, result.answer)
            await self._record_direct(question, turn, result)
        else:
            try:
                session = await retry_until_available(lambda: self._complete_stored(question.user.id, started, result))
            except NotFoundError:
                await self._release_unused(question, turn_id, result)
                raise
            turn = Turn(started, question.message, question.context, result.answer, session)
        await self._release_unused(question, turn_id, result)
        return turn

    async def _release_unused(self, question: Question, turn_id: UUID, result: GraphResult) -> None:
        """Release the reserved quota of a turn without ledger entries, which would replace it."""
        if question.budget is not None and not result.calls:
            await self.quotas.release(turn_id)

    async def _record_direct(self, question: Question, turn: DirectTurn, result: GraphResult) -> None:
        response = None
        presenter = question.presenter
        if question.key is not None and (presenter.stores_failures or turn.answer.status == "complete"):
            response = serialize_response(question.key, presenter.response(turn), presenter.status_code)

        async def record() -> None:
            async with self._storing, self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
                await ledger.record_calls(
                    connection,
                    turn_id=turn.id,
                    user_id=question.user.id,
                    calls=result.calls,
                    stored_response=response,
                )
                if question.key is not None and response is None:
                    await idempotency_keys.release(connection, question.key, turn_id=turn.id)

        await retry_until_available(record)

    async def _complete_stored(self, user_id: int, started: StartedTurn, result: GraphResult) -> UpdatedSession:
        async with self._storing, self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            session = await turns.complete_turn(connection, started, result.answer, user_id=user_id, calls=result.calls)
            if session is not None:
                return session
            completed = await turn_queries.find_completed(connection, started)
        match completed:
            case None:
                raise NotFoundError("The session was deleted while the question was being answered.")
            case (result.answer.status, session):
                return session  # an earlier attempt stored it, and its confirmation was lost
            case _:
                raise ConflictError("The turn was interrupted before its answer was complete.", code="turn_interrupted")

    @asynccontextmanager
    async def _reserved_quota(self, question: Question, turn_id: UUID, max_duration: timedelta) -> AsyncIterator[None]:
        """Reserve the question's budget; if the block fails, release it.

        Raises:
            TooManyRequestsError: the quota is used up.
            IdempotencyKeyTakenError: the quota is used up, and a request with the same key came first.

        """
        if question.budget is None:
            yield
            return
        try:
            await self.quotas.reserve(
                question.budget,
                turn_id=turn_id,
                user_id=question.user.id,
                session_uuid=question.session_uuid,
                life=max_duration,
            )
        except TooManyRequestsError:
            # A replay costs nothing, so it is served although the quota is used up.
            if question.key is not None:
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    stored = await idempotency_keys.find(connection, question.key)
                if stored is not None:
                    raise IdempotencyKeyTakenError(question.key, stored) from None
            raise
        try:
            yield
        except DatabaseUnavailableError:
            raise  # the turn may have been stored, and then it uses the reservation
        except Exception:
            await self.quotas.release(turn_id)
            raise

    async def _start_in_session(self, new: NewTurn) -> StartedTurn:
        for _ in range(_MAX_STARTS):
            try:
                async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
                    started = await turn_start.start_turn(connection, new)
                    if started is not None:
                        return started
                    refusal = await turn_start.find_refusal(
                        connection, user_id=new.user_id, session_uuid=new.session_uuid, place=new.place
                    )
                if refusal is not None:
                    raise _refused(refusal, new)
            except ActiveTurnError:
                # The active turn may be orphaned: its process was killed.
                if await self.recovery.recover_in_session(user_id=new.user_id, session_uuid=new.session_uuid):
                    continue
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    active = await turn_queries.find_active(
                        connection, user_id=new.user_id, session_uuid=new.session_uuid
                    )
                if active is None:
                    continue  # it has ended in the meantime
                raise ConflictError(
                    "The last question of this session is still being answered.",
                    code="turn_active",
                    extra={"message_id": str(active)},
                ) from None
        raise ServiceUnavailableError


def _refused(refusal: Refusal, new: NewTurn) -> Exception:
    match refusal:
        case Refusal.NO_SESSION:
            return NotFoundError("Session not found.")
        case Refusal.ARCHIVED:
            return ConflictError("The session is archived. Unarchive it to ask a question.", code="session_archived")
        case Refusal.NO_PLACE if new.place.kind == "after":
            return InvalidFieldError("body.parent_id", "unknown_parent", "is not an answer of this session")
        case Refusal.NO_PLACE:
            return NotFoundError("Message not found.")
        case _:
            return ConflictError(
                f"A message has at most {MAX_SIBLINGS} versions. Delete some of them first.", code="too_many_versions"
            )


def _require_started(started: StartedTurn | None) -> StartedTurn:
    if started is None:
        raise NotFoundError("Session not found.")
    return started
