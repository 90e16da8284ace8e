"""Runs turns in tasks that belong to the process, not to the request, so that a turn can outlive its client.

No connection to PostgreSQL is held while a model answers.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from app.chat.accounting.cost import PriceList
from app.chat.accounting.turn_metrics import TurnMetrics
from app.chat.streaming.answer_text import Ending
from app.chat.streaming.publisher import AnswerStream, StreamPublisher
from app.chat.summaries.summarizer import Summarizer
from app.chat.titles.title_generator import TitleGenerator
from app.chat.titles.title_text import title_from_question
from app.chat.turns.conversation_history import StoredConversationHistory
from app.chat.turns.graph_run import GraphResult, initial_state, run_graph
from app.chat.turns.presenters import answer_message, stream_ending, unstored_message
from app.chat.turns.question import FinishedTurn, Question, RunningTurn
from app.chat.turns.store import TurnStore
from app.core.exceptions import AppError, DatabaseUnavailableError, NotFoundError, ServiceUnavailableError
from app.core.schema_types import new_id
from app.core.turn_duration import max_streamed_seconds
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.turns import active_turns
from app.database.repositories.turns.turns import NewTurn, StartedTurn, Turn
from app.database.retry_until_available import STORE_TIMEOUT, retry_until_available
from app.graph.builder import ChatGraph
from app.graph.context import ChatContext
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import ChatModel, TurnOwner
from app.graph.ports.model_health import AlwaysHealthy, ModelHealth
from app.observability.tracing import span

logger = logging.getLogger(__name__)

T = TypeVar("T")

LEASE = timedelta(seconds=30)
"""Validity of a turn's lease. A turn whose lease has expired is considered orphaned."""
_RENEW_THRESHOLD = timedelta(seconds=20)
"""A lease with less time left than this is renewed."""
_WATCH_INTERVAL = 1.0
"""Seconds between checks for cancellation requests and leases to renew."""
_START_TIMEOUT = 5.0
"""Seconds from the reservation of the quota to the beginning of the answer."""
STORE_AFTER_CANCEL_TIMEOUT = 3.0
"""Seconds for storing the answer of an interrupted turn."""
_SEARCH_DELAYS = (1.0, 2.0, 7.0)
"""Seconds between two searches for a question whose storing was not confirmed: it may be committed late."""
_DRAIN_INTERVAL = 0.1
"""Seconds between two interruptions at shutdown, for answers that begin after the first one."""


@dataclass(slots=True)
class TurnRunner:
    """Runs every turn of this process, each in a task of its own."""

    graph: ChatGraph
    model: ChatModel
    database: Database
    policy: ModelPolicy
    store: TurnStore
    prices: PriceList
    turn_timeout: float
    """Deadline in seconds for all attempts of a turn together, until a streamed answer begins."""
    uncached_model: ChatModel | None = None
    """Answers repeated questions, for which a cache would return the same answer again. None: `model` has no cache."""
    health: ModelHealth = field(default_factory=AlwaysHealthy)
    publisher: StreamPublisher | None = None
    """Publishes streamed text to other processes. None: only local subscribers see it."""
    summarizer: Summarizer | None = None
    """Summarizes messages that no longer fit the context window. None: they are left out."""
    title_generator: TitleGenerator | None = None
    """Names sessions after their first complete answer. None: they keep the title from their first question."""
    metrics: TurnMetrics | None = None
    running_turns: dict[UUID, RunningTurn] = field(default_factory=dict)
    """Turns in sessions that run in this process, by the id of the answer."""
    _streams: set[AnswerStream] = field(default_factory=set)
    """Answers of all turns that run in this process, direct ones included."""
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    """Tasks of these turns. They are never cancelled, so that every result is stored."""
    _is_draining: bool = False

    @property
    def max_turn_duration(self) -> timedelta:
        """Maximum duration of any turn, storing included."""
        return self._max_duration(stream=True)

    @property
    def running_count(self) -> int:
        """Number of turns that run in this process, direct ones included."""
        return len(self._streams)

    async def launch(self, question: Question, *, stream: bool) -> RunningTurn:
        """Store a question and start the task that answers it.

        With `stream` the model is asked to stream its answer. The turn continues when the caller is cancelled.

        Raises:
            IdempotencyKeyTakenError: a request with the same key came first.
            NotFoundError: the user has no such session.
            ConflictError: the previous question of the session is still being answered.
            TooManyRequestsError: the quota is used up.
            ServiceUnavailableError: this process is shutting down.

        """
        if self._is_draining:
            raise ServiceUnavailableError(code="shutting_down")
        return await asyncio.shield(self._start_task(self._launch(question, stream=stream)))

    def find_stream(self, turn_id: UUID) -> AnswerStream | None:
        """Return the answer of a turn, direct ones included, while this process generates it."""
        return next((stream for stream in self._streams if stream.id == turn_id), None)

    def cancel(self, turn_id: UUID) -> None:
        """Cancel a turn if it runs in this process; its text so far is stored with the status `cancelled`."""
        running = self.running_turns.get(turn_id)
        if running is not None:
            running.stream.cancel()

    async def watch(self) -> None:
        """Renew the leases of running turns and cancel those with a cancellation request, until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL)
            if not self.running_turns:
                continue
            try:
                async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
                    cancelled = await active_turns.renew_leases(
                        connection, turn_ids=list(self.running_turns), lease=LEASE, renew_before=_RENEW_THRESHOLD
                    )
            except DatabaseUnavailableError:
                continue
            except Exception:
                logger.exception("lease renewal failed")
                continue
            for turn_id in cancelled:
                self.cancel(turn_id)

    async def drain(self, grace: float) -> None:
        """Refuse new questions, wait `grace` seconds for running turns, then interrupt the rest and store them.

        A question that was accepted before counts as running, although its answer begins during the wait.
        """
        self._is_draining = True
        now = asyncio.get_running_loop().time
        interrupt_at = now() + grace
        end_at = interrupt_at + STORE_AFTER_CANCEL_TIMEOUT
        interrupted: set[AnswerStream] = set()
        while self._tasks and now() < end_at:
            if now() >= interrupt_at:
                # Each once: a second cancellation would interrupt the storing of the first one's result.
                for stream in self._streams - interrupted:
                    stream.interrupt()
                interrupted |= self._streams
            until = interrupt_at if now() < interrupt_at else min(end_at, now() + _DRAIN_INTERVAL)
            # A task that stores a question starts the one that answers it.
            await asyncio.wait(self._tasks, timeout=until - now(), return_when=asyncio.FIRST_COMPLETED)

    def _start_unless_draining(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if not self._is_draining:
            _ = self._start_task(work())

    def _start_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # marked as retrieved: the request raises it, if it is still waiting

    async def _launch(self, question: Question, *, stream: bool) -> RunningTurn:
        question_id, turn_id = new_id(), new_id()
        new = self._new_turn(question, question_id, turn_id)
        max_duration = self.max_turn_duration
        try:
            if new is not None:
                started = await self.store.start(question, new, max_duration=max_duration)
            else:
                started = None
                # The lease of its key cannot be renewed, so it covers the longest possible answer.
                key_lease = self._max_duration(stream=stream)
                await self.store.start_direct(question, turn_id, max_duration=max_duration, key_lease=key_lease)
        except DatabaseUnavailableError:
            # It may have been stored although the confirmation was lost.
            _ = self._start_task(self._resolve_unconfirmed(question, new, turn_id, stream=stream))
            raise
        return self._run(question, started, turn_id, stream=stream)

    async def _resolve_unconfirmed(
        self,
        question: Question,
        new: NewTurn | None,
        turn_id: UUID,
        *,
        stream: bool,
        delays: Sequence[float] = _SEARCH_DELAYS,
    ) -> None:
        """Answer a question whose storing PostgreSQL did not confirm, if it was stored.

        Its client was told to try again. With the same key it gets this answer, because the key belongs to the stored
        question. The key of a direct question, which is not stored, is released.
        """
        if new is None:
            await retry_until_available(lambda: self.store.release_direct(question, turn_id))
        else:
            started = await retry_until_available(lambda: self.store.find_unconfirmed(question, new))
            if started is not None:
                self._run(question, started, turn_id, stream=stream)
                return
        if delays:
            again = partial(self._resolve_unconfirmed, question, new, turn_id, stream=stream, delays=delays[1:])
            # Not a task that sleeps, for which a shutdown would wait.
            asyncio.get_running_loop().call_later(delays[0], self._start_unless_draining, again)

    def _run(self, question: Question, started: StartedTurn | None, turn_id: UUID, *, stream: bool) -> RunningTurn:
        """Start the task that answers a question. `started`: the stored question; None: it is a direct one."""
        is_stored = started is not None
        answer = AnswerStream(turn_id, self.publisher if stream and is_stored else None)
        result = self._start_task(self._answer(question, started, answer, stream=stream))
        running = RunningTurn(turn_id, question, started, answer, result)
        if is_stored:
            self.running_turns[turn_id] = running
        return running

    def _new_turn(self, question: Question, question_id: UUID, turn_id: UUID) -> NewTurn | None:
        """Return what is stored of a question. None: it is a direct one."""
        if (session_uuid := question.session_uuid) is None:
            return None
        return NewTurn(
            user_id=question.user.id,
            session_uuid=session_uuid,
            content=question.message,
            meta=question.context,
            question_uuid=(question.place.message_uuid if question.is_repeated else None) or question_id,
            answer_uuid=turn_id,
            lease=LEASE,
            key=question.key,
            model=(question.policy or self.policy).models[0],
            place=question.place,
            session_models=question.session_models,
            title=title_from_question(question.message),
        )

    async def _answer(
        self, question: Question, started: StartedTurn | None, answer: AnswerStream, *, stream: bool
    ) -> FinishedTurn:
        owner = TurnOwner(question.user.id, question.user.uuid, started.session_uuid if started else None)
        started_at, result, status = time.perf_counter(), None, None
        try:
            with span("turn", {"chatbot.turn.streamed": stream}) as turn_span:
                result = await self._run_graph(question, started, answer, owner, stream=stream)
                turn = await self.store.complete(question, started, answer.id, result)
                status = result.answer.status
                if turn_span is not None:
                    turn_span.set_attribute("chatbot.turn.status", status)
            answer.end(
                stream_ending(answer_message(turn), title=turn.session.title if isinstance(turn, Turn) else None)
            )
        except Exception as error:
            code = error.code if isinstance(error, AppError) else "internal_error"
            answer.end(
                Ending(unstored_message(answer.id, answer.text, started.question_uuid if started else None), code=code),
                is_deleted=isinstance(error, NotFoundError),
            )
            raise
        finally:
            self.running_turns.pop(answer.id, None)
            if self.metrics is not None:
                calls = [] if result is None else result.calls
                self.metrics.record_turn(status, calls, stream=stream, seconds=time.perf_counter() - started_at)
        if isinstance(turn, Turn) and not self._is_draining:
            has_quota = question.budget is not None
            # A conversation that the client sent says nothing about what the next prompt of the session holds.
            summarizer = self.summarizer if question.client_messages is None else None
            for follow_up in (summarizer, self.title_generator):
                if follow_up is not None:
                    follow_up.after(turn, owner, result, has_quota=has_quota)
        return turn

    async def _run_graph(
        self,
        question: Question,
        started: StartedTurn | None,
        answer: AnswerStream,
        owner: TurnOwner,
        *,
        stream: bool,
    ) -> GraphResult:
        policy = question.policy or self.policy
        if started is not None and started.model is not None:
            policy = policy.with_model(started.model)
        context = ChatContext(
            model=(self.uncached_model if question.is_repeated else None) or self.model,
            conversation_history=StoredConversationHistory(
                self.database,
                owner.user_id,
                started.question_uuid if started else None,
                with_summary=self.summarizer is not None,
            ),
            policy=policy,
            owner=owner,
            health=self.health,
            deadline=asyncio.get_running_loop().time() + self.turn_timeout,
            sink=answer if stream else None,
            fallback_response=question.fallback_response,
        )
        self._streams.add(answer)
        try:
            return await run_graph(self.graph, context, answer, initial_state(question, started), prices=self.prices)
        finally:
            self._streams.discard(answer)

    def _max_duration(self, *, stream: bool) -> timedelta:
        """Maximum duration of a turn, storing included."""
        seconds = self.turn_timeout
        if stream:
            seconds = max_streamed_seconds(
                turn_timeout=self.turn_timeout,
                reasoning_timeout=self.policy.reasoning_timeout,
                stream_timeout=self.policy.stream_timeout,
            )
        return timedelta(seconds=_START_TIMEOUT + seconds + STORE_TIMEOUT)
