"""Turns: a question, the run of the graph that answers it, and what is stored of both.

A turn belongs to the process, not to the request: a client that leaves loses nothing. No connection to PostgreSQL
is held while a model answers.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from app.chat.abandoned import AbandonedTurns
from app.chat.idempotency import kept
from app.chat.live import Ending, LiveTurn, Outlet
from app.chat.provenance import Price
from app.chat.runs import Outcome, StoredHistory, run_graph
from app.chat.schemas import MessageResponse
from app.chat.shapes import answer_message, direct_message, direct_response, ending_of
from app.chat.storing import STORE_PATIENCE, insist
from app.chat.summaries import Summarizer
from app.core.exceptions import (
    AppError,
    ConflictError,
    DatabaseUnavailableError,
    NotFoundError,
    ServiceUnavailableError,
    TooManyRequestsError,
)
from app.core.types import new_id
from app.database.connection import PATIENCE, Database
from app.database.repositories import chats, idempotency, ledger, turns
from app.database.repositories.chats import NewSession
from app.database.repositories.idempotency import KeyTakenError, RequestKey
from app.database.repositories.turns import (
    ActiveTurnError,
    Answer,
    NewTurn,
    SettledTurn,
    StartedTurn,
    Turn,
)
from app.graph.builder import ChatGraph
from app.graph.context import ChatContext, ChatModel, ModelHealth, ModelPolicy, NoHealth, Owner
from app.graph.state import ChatState
from app.services.quotas import Budget, Quotas

logger = logging.getLogger(__name__)

T = TypeVar("T")

LEASE = timedelta(seconds=30)
"""How long a process may be silent before its turns are taken for dead."""
_RENEW_BEFORE = timedelta(seconds=20)
"""A lease that has less than this left is renewed."""
_LOOK_EVERY = 1.0
"""Seconds between looks at what is to be stopped, and which leases are to be renewed."""
SETTLE_PATIENCE = 3.0
"""Seconds for storing what a cancelled turn leaves."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks in a session."""

    user_id: int
    user_uuid: UUID
    session: UUID | NewSession
    """A new session is stored with the question, or not at all."""
    message: str
    context: dict[str, Any]
    """Overrides, key by key, what the session was created with."""
    key: RequestKey | None = None
    policy: ModelPolicy | None = None
    """Who answers it, and how. None: as always."""
    budget: Budget | None = None
    """What to reserve of its owner's quota. None: there is no quota."""


@dataclass(frozen=True, slots=True)
class DirectQuestion:
    """What somebody asks outside of any session."""

    user_id: int
    user_uuid: UUID
    message: str
    context: dict[str, Any]
    key: RequestKey | None = None
    policy: ModelPolicy | None = None
    budget: Budget | None = None
    """Both as of a question in a session."""


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


@dataclass(slots=True)
class TurnRunner:
    """Runs turns, each in a task of its own that outlives the request."""

    graph: ChatGraph
    model: ChatModel
    database: Database
    policy: ModelPolicy
    abandoned: AbandonedTurns
    price: Price
    quotas: Quotas
    turn_timeout: float
    """Seconds all attempts of a turn may take together, until a streamed answer begins."""
    health: ModelHealth = field(default_factory=NoHealth)
    outlet: Outlet | None = None
    """The way of streamed text to other processes."""
    summarizer: Summarizer | None = None
    """Keeps in mind what no longer goes along. None: it is forgotten."""
    stored: dict[UUID, RunningTurn] = field(default_factory=dict)
    """The turns that are running here, by the id of the answer; not the direct ones."""
    _live: set[LiveTurn] = field(default_factory=set)
    """All turns that are running here."""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Their tasks: never cancelled, so that what a turn came to is always stored."""
    _is_draining: bool = False

    @property
    def running(self) -> int:
        """How many turns are running here, the direct ones included."""
        return len(self._live)

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
        owner = Owner(question.user_id, question.user_uuid, started.session_uuid)
        try:
            outcome = await self._run_graph(
                live,
                owner,
                {
                    "user_message": question.message,
                    "user_id": question.user_id,
                    "session_id": str(started.session_uuid),
                    "question_seq": started.question_seq,
                    "context": started.session_meta | question.context,
                    "status": "initialized",
                },
                question.policy,
                streams=streams,
            )
            answer = outcome.answer
            settled = await insist(lambda: self._settle(question.user_id, started, outcome))
            if question.budget is not None and not outcome.calls:
                await self.quotas.release(live.id)
            turn = Turn(started, question.message, question.context, answer, settled)
            live.end(ending_of(answer_message(turn)))
        except Exception as error:
            code = error.code if isinstance(error, AppError) else "internal_error"
            live.end(
                Ending(_unstored(live, parent_id=started.question_uuid), code=code),
                is_deleted=isinstance(error, NotFoundError),
            )
            raise
        finally:
            del self.stored[live.id]
        if self.summarizer is not None and not self._is_draining:
            self.summarizer.after(turn, owner, outcome, is_counted=question.budget is not None)
        return turn

    async def _launch_directly(self, question: DirectQuestion, *, streams: bool) -> RunningDirect:
        live = LiveTurn(new_id())
        async with self._reserved(question, live.id, session=None):
            if question.key is not None:
                # Nothing is stored whose lease could be renewed, so this one is as long as an answer may take.
                longest = self._longest(streams=streams)
                async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                    await idempotency.take_for_direct(connection, question.key, turn_id=live.id, lease=longest)
        return RunningDirect(live, self._detach(self._answer_directly(question, live, streams=streams)))

    async def _answer_directly(self, question: DirectQuestion, live: LiveTurn, *, streams: bool) -> Answer:
        state: ChatState = {
            "user_message": question.message,
            "user_id": question.user_id,
            "context": question.context,
            "status": "initialized",
        }
        try:
            owner = Owner(question.user_id, question.user_uuid)
            outcome = await self._run_graph(live, owner, state, question.policy, streams=streams)
            answer = outcome.answer
            response = kept(question.key, direct_response(answer)) if question.key else None

            async def record() -> None:
                async with self.database.direct(max_seconds=PATIENCE) as connection:
                    await ledger.record_calls(
                        connection, turn_id=live.id, user_id=question.user_id, calls=outcome.calls, kept=response
                    )

            await insist(record)
            if question.budget is not None and not outcome.calls:
                await self.quotas.release(live.id)
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
            model=(question.policy or self.policy).models[0],
        )
        async with self._reserved(question, new.answer_uuid, session=new.session_uuid):
            try:
                if isinstance(session, NewSession):
                    async with self.database.transaction(max_seconds=PATIENCE) as transaction:
                        await chats.create(transaction, session, user_id=question.user_id)
                        started = _found(await turns.start(await transaction.connection(), new))
                else:
                    started = _found(await self._try_start(new))
            except DatabaseUnavailableError:
                # PostgreSQL may have stored it all the same, and would keep session and key busy for nobody.
                _ = self._detach(insist(lambda: self._abandon(new.answer_uuid)))
                raise
        return started

    @asynccontextmanager
    async def _reserved(
        self, question: Question | DirectQuestion, turn_id: UUID, *, session: UUID | None
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
                life=self._longest(streams=True),
            )
        except TooManyRequestsError:
            # An answer that has been paid for is given again.
            if question.key is not None:
                async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                    stored = await idempotency.find(connection, question.key)
                if stored is not None:
                    raise KeyTakenError(question.key, stored) from None
            raise
        try:
            yield
        except DatabaseUnavailableError:
            raise  # what could not be stored cannot be released either; it is given back in its own time
        except Exception:
            await self.quotas.release(turn_id)
            raise

    def _longest(self, *, streams: bool) -> timedelta:
        """How long a turn may take."""
        return timedelta(seconds=self.turn_timeout + (self.policy.stream_timeout if streams else 0) + STORE_PATIENCE)

    async def _try_start(self, new: NewTurn) -> StartedTurn | None:
        while True:
            try:
                async with self.database.direct(max_seconds=PATIENCE) as connection:
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
        async with self.database.direct(max_seconds=PATIENCE) as connection:
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

    async def _run_graph(
        self, live: LiveTurn, owner: Owner, state: ChatState, policy: ModelPolicy | None, *, streams: bool
    ) -> Outcome:
        context = ChatContext(
            model=self.model,
            history=StoredHistory(self.database, owner.user_id, with_summary=self.summarizer is not None),
            policy=policy or self.policy,
            owner=owner,
            health=self.health,
            deadline=asyncio.get_running_loop().time() + self.turn_timeout,
            sink=live if streams else None,
        )
        self._live.add(live)
        try:
            return await run_graph(self.graph, context, live, state, price=self.price)
        finally:
            self._live.discard(live)


def _found(started: StartedTurn | None) -> StartedTurn:
    if started is None:
        raise NotFoundError("Session not found.")
    return started


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
