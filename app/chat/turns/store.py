"""What a turn does in PostgreSQL: it is stored as a question that waits, and settled with its answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.chat.turns.graph_run import GraphResult
from app.chat.turns.questions import DirectQuestion, Question
from app.chat.turns.recovery import TurnRecovery
from app.core.exceptions import ConflictError, DatabaseUnavailableError, NotFoundError, TooManyRequestsError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import idempotency_keys, sessions, turn_leases, turn_queries, turns
from app.database.repositories.chat.idempotency_keys import IdempotencyKeyTakenError
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.chat.turns import ActiveTurnError, NewTurn, StartedTurn, UpdatedSession
from app.services.limits.quotas import QuotaService


@dataclass(frozen=True, slots=True)
class TurnStore:
    """Stores turns."""

    database: Database
    recovery: TurnRecovery
    quotas: QuotaService

    async def start(self, question: Question, new: NewTurn, *, longest: timedelta) -> StartedTurn:
        """Store a question. `longest`: how long its answer may take.

        Raises:
            KeyTakenError: it came before under the same key.
            NotFoundError: the caller has no such session.
            ConflictError: the session's last question is still being answered.
            TooManyRequestsError: nothing is left of the quota.

        """
        session = question.session
        async with self.reserved(question, new.answer_uuid, session=new.session_uuid, longest=longest):
            if isinstance(session, NewSession):
                async with self.database.transaction(max_seconds=REQUEST_TIMEOUT) as transaction:
                    await sessions.create(transaction, session, user_id=question.user_id)
                    return _found(await turns.start_turn(await transaction.connection(), new))
            return _found(await self._try_start(new))

    async def interrupt(self, answer_uuid: UUID) -> None:
        """Give up a question whose storing was not confirmed: it would keep session and key busy for nobody."""
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await turn_leases.interrupt_turn(connection, answer_uuid=answer_uuid)

    async def complete(self, user_id: int, started: StartedTurn, outcome: GraphResult) -> UpdatedSession:
        """Store the answer, and account for it. Harmless to repeat.

        Raises:
            NotFoundError: the session was deleted meanwhile.
            ConflictError: the turn was taken for dead meanwhile.

        """
        async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            settled = await turns.complete_turn(
                connection, started, outcome.answer, user_id=user_id, calls=outcome.calls
            )
            if settled is not None:
                return settled
            found = await turn_queries.find_completed(connection, started)
        match found:
            case None:
                raise NotFoundError("The session was deleted while the question was being answered.")
            case (outcome.answer.status, settled):
                return settled  # stored by an attempt whose confirmation was lost
            case _:
                raise ConflictError("The answer came after its time was up.", code="turn_interrupted")

    @asynccontextmanager
    async def reserved(
        self, question: Question | DirectQuestion, turn_id: UUID, *, session: UUID | None, longest: timedelta
    ) -> AsyncIterator[None]:
        """Reserve what the answer may use while the block begins it. If the block fails, nothing is reserved.

        Raises:
            TooManyRequestsError: nothing is left of the quota.
            KeyTakenError: nothing is left, and the question came before under the same key.

        """
        if question.budget is None:
            yield
            return
        try:
            await self.quotas.reserve(
                question.budget,
                turn_id=turn_id,
                user_id=question.user_id,
                session_uuid=session,
                life=longest,
            )
        except TooManyRequestsError:
            # An answer that has been paid for is given again.
            if question.key is not None:
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    stored = await idempotency_keys.find(connection, question.key)
                if stored is not None:
                    raise IdempotencyKeyTakenError(question.key, stored) from None
            raise
        try:
            yield
        except DatabaseUnavailableError:
            raise  # what could not be stored cannot be released either; it is given back in its own time
        except Exception:
            await self.quotas.release(turn_id)
            raise

    async def _try_start(self, new: NewTurn) -> StartedTurn | None:
        while True:
            try:
                async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
                    return await turns.start_turn(connection, new)
            except ActiveTurnError:
                # A process that died left its answer unsettled: once the lease is over, the session goes on.
                if await self.recovery.recover_in_session(user_id=new.user_id, session_uuid=new.session_uuid):
                    continue
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    active = await turn_queries.find_active(
                        connection, user_id=new.user_id, session_uuid=new.session_uuid
                    )
                if active is None:
                    continue  # it ended just now
                raise ConflictError(
                    "The last question of this session is still being answered.",
                    code="turn_active",
                    extra={"message_id": str(active)},
                ) from None


def _found(started: StartedTurn | None) -> StartedTurn:
    if started is None:
        raise NotFoundError("Session not found.")
    return started
