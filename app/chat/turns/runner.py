"""Turns: a question, the run of the graph that answers it, and what is stored of both.

A turn belongs to the process, not to the request: a client that leaves loses nothing. No connection to PostgreSQL
is held while a model answers.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from app.chat.idempotency.service import serialize_response
from app.chat.schemas.messages import MessageResponse
from app.chat.streaming.publisher import AnswerStream, StreamPublisher
from app.chat.streaming.transcript import Ending
from app.chat.turns.conversation_history import StoredConversationHistory
from app.chat.turns.cost import PriceFunction
from app.chat.turns.graph_run import GraphResult, run_graph
from app.chat.turns.presenters import answer_message, direct_message, direct_response, stream_ending
from app.chat.turns.questions import DirectQuestion, Question
from app.chat.turns.store import TurnStore
from app.chat.turns.summarizer import Summarizer
from app.core.exceptions import (
    AppError,
    DatabaseUnavailableError,
    NotFoundError,
    ServiceUnavailableError,
)
from app.core.types import new_id
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import idempotency_keys, turn_leases
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.chat.turns import Answer, NewTurn, StartedTurn, Turn
from app.database.repositories.usage import ledger
from app.database.retry import STORE_TIMEOUT, retry_until_available
from app.graph.builder import ChatGraph
from app.graph.context import ChatContext
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import ChatModel, TurnOwner
from app.graph.ports.model_health import AlwaysHealthy, ModelHealth
from app.graph.state import ChatState

logger = logging.getLogger(__name__)

T = TypeVar("T")

LEASE = timedelta(seconds=30)
"""How long a process may be silent before its turns are taken for dead."""
_RENEW_THRESHOLD = timedelta(seconds=20)
"""A lease that has less than this left is renewed."""
_WATCH_INTERVAL = 1.0
"""Seconds between looks at what is to be stopped, and which leases are to be renewed."""
STORE_AFTER_CANCEL_TIMEOUT = 3.0
"""Seconds for storing what a cancelled turn leaves."""


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """A turn whose question has been stored."""

    started: StartedTurn
    live: AnswerStream
    result: asyncio.Task[Turn]


@dataclass(frozen=True, slots=True)
class RunningDirect:
    """A direct question that is being answered."""

    live: AnswerStream
    result: asyncio.Task[Answer]


@dataclass(slots=True)
class TurnRunner:
    """Runs turns, each in a task of its own that outlives the request."""

    graph: ChatGraph
    model: ChatModel
    database: Database
    policy: ModelPolicy
    store: TurnStore
    price: PriceFunction
    turn_timeout: float
    """Seconds all attempts of a turn may take together, until a streamed answer begins."""
    health: ModelHealth = field(default_factory=AlwaysHealthy)
    publisher: StreamPublisher | None = None
    """The way of streamed text to other processes."""
    summarizer: Summarizer | None = None
    """Keeps in mind what no longer goes along. None: it is forgotten."""
    running_turns: dict[UUID, RunningTurn] = field(default_factory=dict)
    """The turns that are running here, by the id of the answer; not the direct ones."""
    _live: set[AnswerStream] = field(default_factory=set)
    """All turns that are running here."""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Their tasks: never cancelled, so that what a turn came to is always stored."""
    _is_draining: bool = False

    @property
    def running_count(self) -> int:
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
            await asyncio.sleep(_WATCH_INTERVAL)
            if not self.running_turns:
                continue
            try:
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    cancellation = await turn_leases.renew_leases(
                        connection, turn_ids=list(self.running_turns), lease=LEASE, renew_before=_RENEW_THRESHOLD
                    )
            except DatabaseUnavailableError:
                continue
            except Exception:
                logger.exception("cannot look after the turns")
                continue
            for turn_id in cancellation:
                self.stop(turn_id)

    def stop(self, turn_id: UUID) -> None:
        """Cut a turn short, if it is running here, and have what it has said stored as cancelled."""
        running = self.running_turns.get(turn_id)
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
            await asyncio.wait(self._tasks, timeout=STORE_AFTER_CANCEL_TIMEOUT)

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
        live = AnswerStream(started.answer_uuid, self.publisher if streams else None)
        result = self._detach(self._answer(question, started, live, streams=streams))
        running = self.running_turns[live.id] = RunningTurn(started, live, result)
        return running

    async def _answer(self, question: Question, started: StartedTurn, live: AnswerStream, *, streams: bool) -> Turn:
        outcome: GraphResult | None = None
        owner = TurnOwner(question.user_id, question.user_uuid, started.session_uuid)
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
            settled = await retry_until_available(lambda: self.store.complete(question.user_id, started, outcome))
            if question.budget is not None and not outcome.calls:
                await self.store.quotas.release(live.id)
            turn = Turn(started, question.message, question.context, answer, settled)
            live.end(stream_ending(answer_message(turn)))
        except Exception as error:
            code = error.code if isinstance(error, AppError) else "internal_error"
            live.end(
                Ending(_unstored(live, parent_id=started.question_uuid), code=code),
                is_deleted=isinstance(error, NotFoundError),
            )
            raise
        finally:
            del self.running_turns[live.id]
        if self.summarizer is not None and not self._is_draining:
            self.summarizer.after(turn, owner, outcome, is_counted=question.budget is not None)
        return turn

    async def _launch_directly(self, question: DirectQuestion, *, streams: bool) -> RunningDirect:
        live = AnswerStream(new_id())
        async with self.store.reserved(question, live.id, session=None, longest=self._longest(streams=True)):
            if question.key is not None:
                # Nothing is stored whose lease could be renewed, so this one is as long as an answer may take.
                longest = self._longest(streams=streams)
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    await idempotency_keys.claim_for_direct_question(
                        connection, question.key, turn_id=live.id, lease=longest
                    )
        return RunningDirect(live, self._detach(self._answer_directly(question, live, streams=streams)))

    async def _answer_directly(self, question: DirectQuestion, live: AnswerStream, *, streams: bool) -> Answer:
        state: ChatState = {
            "user_message": question.message,
            "user_id": question.user_id,
            "context": question.context,
            "status": "initialized",
        }
        try:
            owner = TurnOwner(question.user_id, question.user_uuid)
            outcome = await self._run_graph(live, owner, state, question.policy, streams=streams)
            answer = outcome.answer
            response = serialize_response(question.key, direct_response(answer)) if question.key else None

            async def record() -> None:
                async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
                    await ledger.record_calls(
                        connection,
                        turn_id=live.id,
                        user_id=question.user_id,
                        calls=outcome.calls,
                        stored_response=response,
                    )

            await retry_until_available(record)
            if question.budget is not None and not outcome.calls:
                await self.store.quotas.release(live.id)
        except Exception as error:
            code = error.code if isinstance(error, AppError) else "internal_error"
            live.end(Ending(_unstored(live), code=code))
            raise
        live.end(stream_ending(direct_message(live.id, direct_response(answer))))
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
        try:
            return await self.store.start(question, new, longest=self._longest(streams=True))
        except DatabaseUnavailableError:
            # PostgreSQL may have stored it all the same.
            _ = self._detach(retry_until_available(lambda: self.store.interrupt(new.answer_uuid)))
            raise

    def _longest(self, *, streams: bool) -> timedelta:
        """How long a turn may take."""
        return timedelta(seconds=self.turn_timeout + (self.policy.stream_timeout if streams else 0) + STORE_TIMEOUT)

    async def _run_graph(
        self, live: AnswerStream, owner: TurnOwner, state: ChatState, policy: ModelPolicy | None, *, streams: bool
    ) -> GraphResult:
        context = ChatContext(
            model=self.model,
            conversation_history=StoredConversationHistory(
                self.database, owner.user_id, with_summary=self.summarizer is not None
            ),
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


def _unstored(live: AnswerStream, parent_id: UUID | None = None) -> MessageResponse:
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
