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

from app.chat.abandoned import AbandonedTurns
from app.chat.idempotency import kept
from app.chat.live import Ending, LiveTurn, Outlet
from app.chat.schemas import MessageResponse
from app.chat.shapes import answer_message, direct_message, direct_response, ending_of
from app.core.exceptions import (
    AppError,
    ConflictError,
    DatabaseUnavailableError,
    NotFoundError,
    ServiceUnavailableError,
)
from app.core.types import new_id
from app.database.connection import PATIENCE, Database
from app.database.repositories import chats, idempotency, turns
from app.database.repositories.chats import NewSession
from app.database.repositories.idempotency import RequestKey
from app.database.repositories.turns import (
    ActiveTurnError,
    Answer,
    LedgerEntry,
    NewTurn,
    SettledStatus,
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

LEASE = timedelta(seconds=30)
"""How long a process may be silent before its turns are taken for dead."""
_RENEW_BEFORE = timedelta(seconds=20)
"""A lease that has less than this left is renewed."""
_LOOK_EVERY = 1.0
"""Seconds between looks at what is to be stopped, and which leases are to be renewed."""
_STORE_PATIENCE = 15.0
"""Seconds for storing an answer while PostgreSQL is away."""
_STORE_PAUSE = 0.5
"""Seconds between attempts at it."""
SETTLE_PATIENCE = 3.0
"""Seconds for storing what a cancelled turn leaves."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks in a session."""

    user_id: int
    session: UUID | NewSession
    """A new session is stored with the question, or not at all."""
    message: str
    context: dict[str, Any]
    """Overrides, key by key, what the session was created with."""
    key: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class DirectQuestion:
    """What somebody asks outside of any session."""

    user_id: int
    message: str
    context: dict[str, Any]
    key: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the graph gave."""

    answer: Answer
    calls: list[LedgerEntry]


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """A turn whose question has been stored."""

    started: StartedTurn
    live: LiveTurn
    result: asyncio.Task[Turn]


@dataclass(frozen=True, slots=True)
class RunningDirect:
    """A direct question that is being answered."""

    live: LiveTurn
    result: asyncio.Task[Answer]


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
    abandoned: AbandonedTurns
    turn_timeout: float
    """Seconds all attempts of a turn may take together, until a streamed answer begins."""
    outlet: Outlet | None = None
    """The way of streamed text to other processes."""
    stored: dict[UUID, RunningTurn] = field(default_factory=dict)
    """The turns that are running here, by the id of the answer; not the direct ones."""
    _live: set[LiveTurn] = field(default_factory=set)
    """All turns that are running here."""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Their tasks: never cancelled, so that what a turn came to is always stored."""
    _is_draining: bool = False

    async def answer(self, question: Question) -> Turn:
        """Store a question, answer it, store the answer.

        Raises:
            KeyTakenError: the question came before under the same key.
            NotFoundError: the caller has no such session, or deleted it meanwhile.
            ConflictError: the session's last question is still being answered.
            ServiceUnavailableError: this process is shutting down.

        """
        running = await self.launch(question, streams=False)
        return await asyncio.shield(running.result)

    async def launch(self, question: Question, *, streams: bool) -> RunningTurn:
        """Store a question, and have it answered. `streams`: the model is asked to show its answer as it comes.

        Raises:
            AppError: as `answer`.

        """
        return await self._detached(self._launch(question, streams=streams))

    async def answer_directly(self, question: DirectQuestion) -> Answer:
        """Answer a question that belongs to no session. Only the ledger remembers it, and its key.

        Raises:
            KeyTakenError: the question came before under the same key.
            ServiceUnavailableError: this process is shutting down.

        """
        running = await self.launch_directly(question, streams=False)
        return await asyncio.shield(running.result)

    async def launch_directly(self, question: DirectQuestion, *, streams: bool) -> RunningDirect:
        """Have such a question answered. `streams`: as `launch`.

        Raises:
            AppError: as `answer_directly`.

        """
        return await self._detached(self._launch_directly(question, streams=streams))

    async def watch(self) -> None:
        """Look after the turns for ever: renew their leases, stop those that are to be stopped."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            if not self.stored:
                continue
            try:
                async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                    stops = await turns.watch(
                        connection, turn_ids=list(self.stored), lease=LEASE, renew_before=_RENEW_BEFORE
                    )
            except DatabaseUnavailableError:
                continue
            except Exception:
                logger.exception("cannot look after the turns")
                continue
            for turn_id in stops:
                self.stop(turn_id)

    def stop(self, turn_id: UUID) -> None:
        """Cut a turn short, if it is running here, and have what it has said stored as cancelled."""
        running = self.stored.get(turn_id)
        if running is not None:
            running.live.stop()

    async def drain(self, grace: float) -> None:
        """Let running turns finish for `grace` seconds, then cut the rest short and store them as interrupted."""
        self._is_draining = True
        if not self._tasks:
            return
        await asyncio.wait(self._tasks, timeout=grace)
        for live in self._live:
            live.interrupt()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE_PATIENCE)

    def _refuse_when_draining(self) -> None:
        if self._is_draining:
            raise ServiceUnavailableError(code="shutting_down")

    async def _detached(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            self._refuse_when_draining()
        except ServiceUnavailableError:
            work.close()
            raise
        return await asyncio.shield(self._detach(work))

    def _detach(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: the request, if it still waits, raises it

    async def _launch(self, question: Question, *, streams: bool) -> RunningTurn:
        started = await self._start(question)
        live = LiveTurn(started.answer_uuid, self.outlet if streams else None)
        result = self._detach(self._answer(question, started, live, streams=streams))
        running = self.stored[live.id] = RunningTurn(started, live, result)
        return running

    async def _answer(self, question: Question, started: StartedTurn, live: LiveTurn, *, streams: bool) -> Turn:
        outcome: Outcome | None = None
        try:
            outcome = await self._run_graph(
                live,
                {
                    "user_message": question.message,
                    "user_id": question.user_id,
                    "session_id": str(started.session_uuid),
                    "question_seq": started.question_seq,
                    "context": started.session_meta | question.context,
                    "status": "initialized",
                },
                streams=streams,
            )
            answer = outcome.answer
            settled = await _insist(lambda: self._settle(question.user_id, started, outcome))
            turn = Turn(started, question.message, question.context, answer, settled)
            live.end(ending_of(answer_message(turn)))
        except Exception as error:
            code = error.code if isinstance(error, AppError) else "internal_error"
            live.end(Ending(_unstored(live, parent_id=started.question_uuid), code=code))
            raise
        finally:
            del self.stored[live.id]
        return turn

    async def _launch_directly(self, question: DirectQuestion, *, streams: bool) -> RunningDirect:
        live = LiveTurn(new_id())
        if question.key is not None:
            # Nothing is stored whose lease could be renewed, so this one is as long as an answer may take.
            longest = self.turn_timeout + (self.policy.stream_timeout if streams else 0) + _STORE_PATIENCE
            async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                await idempotency.take_for_direct(
                    connection, question.key, turn_id=live.id, lease=timedelta(seconds=longest)
                )
        return RunningDirect(live, self._detach(self._answer_directly(question, live, streams=streams)))

    async def _answer_directly(self, question: DirectQuestion, live: LiveTurn, *, streams: bool) -> Answer:
        state: ChatState = {
            "user_message": question.message,
            "user_id": question.user_id,
            "context": question.context,
            "status": "initialized",
        }
        try:
            outcome = await self._run_graph(live, state, streams=streams)
            answer = outcome.answer
            response = kept(question.key, direct_response(answer)) if question.key else None

            async def record() -> None:
                async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                    await turns.record_calls(
                        connection, turn_id=live.id, user_id=question.user_id, calls=outcome.calls, kept=response
                    )

            await _insist(record)
        except Exception as error:
            code = error.code if isinstance(error, AppError) else "internal_error"
            live.end(Ending(_unstored(live), code=code))
            raise
        live.end(ending_of(direct_message(live.id, direct_response(answer))))
        return answer

    async def _start(self, question: Question) -> StartedTurn:
        session = question.session
        new = NewTurn(
            user_id=question.user_id,
            session_uuid=session.uuid if isinstance(session, NewSession) else session,
            content=question.message,
            meta=question.context,
            question_uuid=new_id(),
            answer_uuid=new_id(),
            lease=LEASE,
            key=question.key,
        )
        try:
            if isinstance(session, NewSession):
                async with self.database.transaction(max_seconds=PATIENCE) as transaction:
                    await chats.create(transaction, session, user_id=question.user_id)
                    started = await turns.start(await transaction.connection(), new)
            else:
                started = await self._try_start(new)
        except DatabaseUnavailableError:
            # PostgreSQL may have stored it all the same, and would keep the session busy for nobody.
            _ = self._detach(_insist(lambda: self._abandon(new.answer_uuid)))
            raise
        if started is None:
            raise NotFoundError("Session not found.")
        return started

    async def _try_start(self, new: NewTurn) -> StartedTurn | None:
        while True:
            try:
                async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                    return await turns.start(connection, new)
            except ActiveTurnError:
                # A process that died left its answer unsettled: once the lease is over, the session goes on.
                if await self.abandoned.settle_in_session(user_id=new.user_id, session_uuid=new.session_uuid):
                    continue
                async with self.database.autocommit(max_seconds=PATIENCE) as connection:
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

    async def _run_graph(self, live: LiveTurn, state: ChatState, *, streams: bool) -> Outcome:
        context = ChatContext(
            model=self.model,
            history=StoredHistory(self.database, state["user_id"]),
            policy=self.policy,
            deadline=asyncio.get_running_loop().time() + self.turn_timeout,
            sink=live if streams else None,
        )
        live.run = asyncio.ensure_future(self.graph.ainvoke(state, context=context))
        if live.stop_requested:
            live.interrupt()
        self._live.add(live)
        try:
            result = await live.run
        except asyncio.CancelledError:
            answer = (
                _cut_short(live, context, "cancelled")
                if live.stop_requested
                else _cut_short(live, context, "interrupted", code="shutting_down")
            )
        except Exception:
            logger.exception("the graph failed")
            answer = _cut_short(live, context, "failed", code="internal_error", polite_text=FALLBACK_RESPONSE)
        else:
            metadata = result["metadata"]
            answer = Answer(
                content=result["final_response"],
                status="complete" if result["status"] == "completed" else "failed",
                meta=metadata,
                tokens_used=metadata.get("tokens_used", {}).get("total", 0) or _tokens_of_a_part(context),
                processing_time_ms=metadata["processing_time_ms"],
            )
        finally:
            self._live.discard(live)
        # What nobody has streamed, and what the pipeline says by itself, is shown in one piece.
        if answer.content != live.text:
            live.publish(answer.content[len(live.text) :])
        return Outcome(answer, [_ledger_entry(number, call) for number, call in enumerate(context.attempts, 1)])


async def _insist(store: Callable[[], Awaitable[T]]) -> T:
    """Try again while PostgreSQL is away, for a while: the answer has been paid for.

    `store` must be harmless to repeat.
    """
    try:
        async with asyncio.timeout(_STORE_PATIENCE):
            while True:
                try:
                    return await store()
                except DatabaseUnavailableError:
                    await asyncio.sleep(_STORE_PAUSE)
    except TimeoutError:
        raise DatabaseUnavailableError from None


def _cut_short(
    live: LiveTurn, context: ChatContext, status: SettledStatus, *, code: str | None = None, polite_text: str = ""
) -> Answer:
    """Make an answer of what has been shown, or of a polite text, where the graph made none."""
    meta: dict[str, Any] = {"timestamp": datetime.now(UTC).isoformat()}
    if code is not None:
        meta |= {"error": code, "fallback": not live.text}
    return Answer(
        content=live.text or polite_text,
        status=status,
        meta=meta,
        tokens_used=_tokens_of_a_part(context),
        processing_time_ms=sum(attempt.latency_ms for attempt in context.attempts),
    )


def _tokens_of_a_part(context: ChatContext) -> int:
    return sum(sum(attempt.estimate) for attempt in context.attempts if attempt.estimate)


def _unstored(live: LiveTurn, parent_id: UUID | None = None) -> MessageResponse:
    return MessageResponse(
        id=live.id,
        role="assistant",
        content=live.text,
        status="failed",
        timestamp=datetime.now(UTC),
        metadata={},
        tokens_used=0,
        processing_time_ms=0,
        parent_id=parent_id,
    )


def _ledger_entry(number: int, attempt: Attempt) -> LedgerEntry:
    completion = attempt.completion
    if completion is not None:
        status: Literal["ok", "error", "cancelled"] = "ok"
    else:
        status = "error" if attempt.error_code else "cancelled"
    prompt_tokens, completion_tokens = attempt.estimate or (0, 0)
    if completion is not None:
        prompt_tokens, completion_tokens = completion.prompt_tokens, completion.completion_tokens
    return LedgerEntry(
        attempt=number,
        model_requested=attempt.model_requested,
        model_used=completion.model if completion else None,
        is_fallback=attempt.is_fallback,
        status=status,
        error_code=attempt.error_code,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        is_estimated=completion.is_estimated if completion else attempt.estimate is not None,
        latency_ms=attempt.latency_ms,
        first_token_ms=attempt.first_token_ms,
    )
