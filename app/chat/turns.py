"""Turns: a question, the run of the graph that answers it, and what is stored of both.

A turn belongs to the process, not to the request: a client that leaves loses nothing. No connection to PostgreSQL
is held while a model answers.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar
from uuid import UUID

from app.core.exceptions import ConflictError, DatabaseUnavailableError, NotFoundError, ServiceUnavailableError
from app.core.types import new_id
from app.database.connection import PATIENCE, Database, DatabaseConnection
from app.database.repositories import chats, idempotency, turns
from app.database.repositories.chats import NewSession
from app.database.repositories.idempotency import KeptResponse, RequestKey
from app.database.repositories.turns import (
    ActiveTurnError,
    Answer,
    LedgerEntry,
    NewTurn,
    SettledTurn,
    StartedTurn,
    Turn,
)
from app.graph.builder import ChatGraph
from app.graph.context import Attempt, ChatContext, ChatModel, ModelPolicy, PromptMessage
from app.graph.prompts import FALLBACK_RESPONSE
from app.graph.state import ChatState

logger = logging.getLogger(__name__)

T = TypeVar("T")

LEASE_MARGIN = timedelta(seconds=15)
"""What storing an answer may take after the turn's deadline, before the turn is taken for dead."""

_STORE_PAUSE = 0.5
"""Seconds between attempts to store an answer while PostgreSQL is away."""
_SETTLE_PATIENCE = 3.0
"""Seconds for storing what a cancelled turn leaves."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the graph gave."""

    answer: Answer
    calls: list[LedgerEntry]


@dataclass(frozen=True, slots=True)
class KeyedQuestion:
    """A direct question that its client may send again."""

    key: RequestKey
    response: Callable[[Answer], KeptResponse]
    """What is kept of the answer."""


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """`ConversationHistory` over the message table, for one user."""

    database: Database
    user_id: int

    async def recent(self, session_id: UUID, *, before_seq: int, limit: int) -> list[PromptMessage]:
        """See `ConversationHistory`."""
        async with self.database.autocommit(max_seconds=PATIENCE) as connection:
            rows = await turns.recent_messages(
                connection, user_id=self.user_id, session_uuid=session_id, before_seq=before_seq, limit=limit
            )
        return [{"role": "assistant" if role == "assistant" else "user", "content": text} for role, text in rows]


@dataclass(slots=True)
class TurnRunner:
    """Runs turns, each in a task of its own that outlives the request."""

    graph: ChatGraph
    model: ChatModel
    database: Database
    policy: ModelPolicy
    turn_timeout: float
    """Seconds all attempts of a turn may take together."""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Whole turns: never cancelled, so that what a turn came to is always stored."""
    _runs: set[asyncio.Task[Any]] = field(default_factory=set)
    """The graph's part of them, which may be cut short."""
    _is_draining: bool = False

    async def answer(
        self,
        *,
        user_id: int,
        session: UUID | NewSession,
        message: str,
        context: dict[str, Any] | None,
        key: RequestKey | None = None,
    ) -> Turn:
        """Store a question, answer it, store the answer.

        A new session is stored with the question, or not at all. `context` overrides, key by key, what the session
        was created with.

        Raises:
            KeyTakenError: the question came before under the same key.
            NotFoundError: the caller has no such session, or deleted it meanwhile.
            ConflictError: the session's last question is still being answered.
            ServiceUnavailableError: this process is shutting down.

        """
        return await self._run_detached(self._answer(user_id, session, message, context or {}, key))

    async def answer_directly(
        self, *, user_id: int, message: str, context: dict[str, Any] | None, keyed: KeyedQuestion | None = None
    ) -> Answer:
        """Answer a question that belongs to no session. Only the ledger remembers it, and its key.

        Raises:
            KeyTakenError: the question came before under the same key.
            ServiceUnavailableError: this process is shutting down.

        """
        return await self._run_detached(self._answer_directly(user_id, message, context or {}, keyed))

    async def drain(self, grace: float) -> None:
        """Let running turns finish for `grace` seconds, then cut the rest short and store them as interrupted."""
        self._is_draining = True
        if not self._tasks:
            return
        await asyncio.wait(self._tasks, timeout=grace)
        for run in self._runs:
            run.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_SETTLE_PATIENCE)

    async def _run_detached(self, turn: Coroutine[Any, Any, T]) -> T:
        if self._is_draining:
            turn.close()
            raise ServiceUnavailableError(code="shutting_down")
        return await asyncio.shield(self._detach(turn))

    def _detach(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: the request, if it still waits, raises it

    async def _answer(
        self,
        user_id: int,
        session: UUID | NewSession,
        message: str,
        context: dict[str, Any],
        key: RequestKey | None,
    ) -> Turn:
        started = await self._start(user_id, session, message, context, key)
        outcome = await self._run_graph(
            {
                "user_message": message,
                "user_id": user_id,
                "session_id": str(started.session_uuid),
                "question_seq": started.question_seq,
                "context": started.session_meta | context,
                "status": "initialized",
            }
        )
        settled = await _insist(lambda: self._settle(user_id, started, outcome))
        return Turn(started, message, context, outcome.answer, settled)

    async def _answer_directly(
        self, user_id: int, message: str, context: dict[str, Any], keyed: KeyedQuestion | None
    ) -> Answer:
        turn_id = new_id()
        if keyed is not None:
            async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                await idempotency.take_for_direct(connection, keyed.key, turn_id=turn_id, lease=self._lease)
        outcome = await self._run_graph(
            {"user_message": message, "user_id": user_id, "context": context, "status": "initialized"}
        )
        kept = keyed.response(outcome.answer) if keyed else None

        async def record() -> None:
            async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                await turns.record_calls(connection, turn_id=turn_id, user_id=user_id, calls=outcome.calls, kept=kept)

        await _insist(record)
        return outcome.answer

    @property
    def _lease(self) -> timedelta:
        return timedelta(seconds=self.turn_timeout) + LEASE_MARGIN

    async def _start(
        self,
        user_id: int,
        session: UUID | NewSession,
        message: str,
        meta: dict[str, Any],
        key: RequestKey | None,
    ) -> StartedTurn:
        new = NewTurn(
            user_id=user_id,
            session_uuid=session.uuid if isinstance(session, NewSession) else session,
            content=message,
            meta=meta,
            question_uuid=new_id(),
            answer_uuid=new_id(),
            lease=self._lease,
            key=key,
        )
        try:
            if isinstance(session, NewSession):
                async with self.database.transaction(max_seconds=PATIENCE) as transaction:
                    await chats.create(transaction, session, user_id=user_id)
                    started = await turns.start(await transaction.connection(), new)
            else:
                async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                    started = await self._try_start(connection, new)
        except DatabaseUnavailableError:
            # PostgreSQL may have stored it all the same, and would keep the session busy for nobody.
            _ = self._detach(_insist(lambda: self._abandon(new.answer_uuid)))
            raise
        if started is None:
            raise NotFoundError("Session not found.")
        return started

    async def _try_start(self, connection: DatabaseConnection, new: NewTurn) -> StartedTurn | None:
        while True:
            try:
                return await turns.start(connection, new)
            except ActiveTurnError:
                # A process that died left its answer unsettled: once the lease is over, the session goes on.
                if await turns.settle_expired(connection, user_id=new.user_id, session_uuid=new.session_uuid):
                    continue
                active = await turns.find_active(connection, user_id=new.user_id, session_uuid=new.session_uuid)
                if active is None:
                    continue  # it ended just now
                raise ConflictError(
                    "The last question of this session is still being answered.",
                    code="turn_active",
                    extra={"message_id": str(active)},
                ) from None

    async def _abandon(self, answer_uuid: UUID) -> None:
        async with self.database.autocommit(max_seconds=PATIENCE) as connection:
            await turns.abandon(connection, answer_uuid=answer_uuid)

    async def _settle(self, user_id: int, started: StartedTurn, outcome: Outcome) -> SettledTurn:
        async with self.database.autocommit(max_seconds=PATIENCE) as connection:
            settled = await turns.settle(connection, started, outcome.answer, user_id=user_id, calls=outcome.calls)
            if settled is not None:
                return settled
            found = await turns.find_settled(connection, started)
        match found:
            case None:
                raise NotFoundError("The session was deleted while the question was being answered.")
            case (outcome.answer.status, settled):
                return settled  # stored by an attempt whose confirmation was lost
            case _:
                raise ConflictError("The answer came after its time was up.", code="turn_interrupted")

    async def _run_graph(self, state: ChatState) -> Outcome:
        context = ChatContext(
            model=self.model,
            history=StoredHistory(self.database, state["user_id"]),
            policy=self.policy,
            deadline=asyncio.get_running_loop().time() + self.turn_timeout,
        )
        run = asyncio.ensure_future(self.graph.ainvoke(state, context=context))
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)
        try:
            result = await run
        except asyncio.CancelledError:
            answer = _made_here("interrupted", "shutting_down", text="")
        except Exception:
            logger.exception("the graph failed")
            answer = _made_here("failed", "internal_error", text=FALLBACK_RESPONSE)
        else:
            metadata = result["metadata"]
            answer = Answer(
                content=result["final_response"],
                status="complete" if result["status"] == "completed" else "failed",
                meta=metadata,
                tokens_used=metadata.get("tokens_used", {}).get("total", 0),
                processing_time_ms=metadata["processing_time_ms"],
            )
        return Outcome(answer, [_ledger_entry(number, call) for number, call in enumerate(context.attempts, 1)])


async def _insist(store: Callable[[], Awaitable[T]]) -> T:
    """Try again while PostgreSQL is away, as long as the lease lasts: the answer has been paid for.

    `store` must be harmless to repeat.
    """
    try:
        async with asyncio.timeout(LEASE_MARGIN.total_seconds()):
            while True:
                try:
                    return await store()
                except DatabaseUnavailableError:
                    await asyncio.sleep(_STORE_PAUSE)
    except TimeoutError:
        raise DatabaseUnavailableError from None


def _made_here(status: Literal["failed", "interrupted"], code: str, *, text: str) -> Answer:
    return Answer(
        content=text,
        status=status,
        meta={"error": code, "fallback": True, "timestamp": datetime.now(UTC).isoformat()},
        tokens_used=0,
        processing_time_ms=0,
    )


def _ledger_entry(number: int, attempt: Attempt) -> LedgerEntry:
    completion = attempt.completion
    if completion is not None:
        status: Literal["ok", "error", "cancelled"] = "ok"
    else:
        status = "error" if attempt.error_code else "cancelled"
    return LedgerEntry(
        attempt=number,
        model_requested=attempt.model_requested,
        model_used=completion.model if completion else None,
        is_fallback=attempt.is_fallback,
        status=status,
        error_code=attempt.error_code,
        prompt_tokens=completion.prompt_tokens if completion else 0,
        completion_tokens=completion.completion_tokens if completion else 0,
        is_estimated=completion.is_estimated if completion else False,
        latency_ms=attempt.latency_ms,
    )
