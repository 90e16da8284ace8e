"""Summaries of sessions that have outgrown their window, made by the model after a turn and never on a client's path.

The summary is a list of notes. Notes of the messages that have become too old are added at its end, so that what was
noted once is not told anew each time; when the list is too long, it is cut.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from app.chat.turns.conversation_history import history_message
from app.chat.turns.graph_run import GraphResult
from app.chat.turns.summary_model import SummaryModel, SummaryUnavailableError
from app.core.exceptions import AppError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import history
from app.database.repositories.chat.history import StoredSummary, SummaryClaim
from app.database.repositories.chat.turns import Turn
from app.database.retry import STORE_TIMEOUT
from app.graph.context_window import prompt_budget, prompt_tokens, summary_boundary
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import TurnOwner
from app.graph.ports.messages import HistoryMessage
from app.graph.prompts import summary_prompt
from app.graph.tokens import estimate_tokens_upper_bound

logger = logging.getLogger(__name__)

_MAX_SUMMARY_TOKENS = 2000
"""Most tokens of a summary, cautiously counted."""
_MAX_PROMPT_SHARE = 0.25
"""Most of what a model's prompt may have that the summary may take."""
_MAX_STEPS = 16
"""Times that notes are taken after one turn. What is left has its turn after the next one."""
_LEASE_SLACK = timedelta(seconds=STORE_TIMEOUT + 5)
"""What storing takes, besides the model's time."""
_CANCEL_TIMEOUT = 3.0
"""Seconds for what a summary leaves that is cut short."""


@dataclass(frozen=True, slots=True)
class _SummaryTask:
    """What a summary lacks."""

    session_id: int
    owner: TurnOwner
    is_counted: bool
    """Whether the owner has a quota."""
    upto_seq: int
    """Position of the last message that has to be in it."""


@dataclass(slots=True)
class Summarizer:
    """Keeps the summaries of sessions that go on here. A summary that fails is tried again after the next turn."""

    notes: SummaryModel
    database: Database
    policy: ModelPolicy
    batch: int
    """Messages that notes are taken of at once."""
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    """What is under way, by session."""

    def after(self, turn: Turn, owner: TurnOwner, outcome: GraphResult, *, is_counted: bool) -> None:
        """Go on with the summary of a session, if the next question would leave something out that is not in it.

        `is_counted`: the owner has a quota, which it is reserved from.
        """
        started = turn.started
        if turn.answer.status != "complete" or started.session_id in self._tasks:
            return
        said: list[HistoryMessage] = [
            *outcome.history.messages,
            {"seq": started.question_seq, "role": "user", "content": turn.question},
            {"seq": started.question_seq + 1, "role": "assistant", "content": turn.answer.content},
        ]
        room = self._budget
        if room is not None:
            room -= estimate_tokens_upper_bound(self.policy.instructions(started.session_meta))
        upto_seq = summary_boundary(
            said, outcome.history.summary, max_messages=self.policy.history_messages, budget=room
        )
        if upto_seq is not None:
            task = asyncio.create_task(self._extend(_SummaryTask(started.session_id, owner, is_counted, upto_seq)))
            self._tasks[started.session_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(started.session_id))

    async def drain(self, grace: float) -> None:
        """Let what is under way finish for `grace` seconds, then give it up. Nothing is lost by that."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=grace)
        if left := list(self._tasks.values()):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_CANCEL_TIMEOUT)

    @property
    def _budget(self) -> int | None:
        return prompt_budget(self.policy, self.policy.models[0])

    async def _extend(self, overdue: _SummaryTask) -> None:
        try:
            for _ in range(_MAX_STEPS):
                if not await self._extend_by_a_piece(overdue):
                    break
        except (SummaryUnavailableError, AppError) as error:
            logger.warning("no summary", extra={"code": getattr(error, "code", "no_notes")})
        except Exception:
            logger.exception("no summary")

    async def _extend_by_a_piece(self, overdue: _SummaryTask) -> bool:
        """Return whether there may be more to do."""
        async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            claim = await history.claim_summary(
                connection,
                user_id=overdue.owner.user_id,
                session_id=overdue.session_id,
                upto_seq=overdue.upto_seq,
                lease=self.notes.longest + _LEASE_SLACK,
            )
        if claim is None:
            return False
        is_stored = False
        try:
            summary = await self._next(claim, overdue)
            async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
                is_stored = await history.store_summary(connection, claim, summary)
        finally:
            if not is_stored:
                await self._release(claim)
        return is_stored and summary.upto_seq < overdue.upto_seq

    async def _release(self, claim: SummaryClaim) -> None:
        async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            await history.release_summary(connection, claim)

    async def _next(self, claim: SummaryClaim, overdue: _SummaryTask) -> StoredSummary:
        async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
            rows = await history.load_unsummarized(connection, claim, upto_seq=overdue.upto_seq, limit=self.batch)
        said = self._piece([history_message(row) for row in rows])
        is_last = len(said) == len(rows) < self.batch
        reached = overdue.upto_seq if is_last else said[-1]["seq"]
        if not said:  # failed answers only
            return StoredSummary(claim.text, reached)
        notes = await self.notes.take(
            summary_prompt(said), overdue.owner, session_id=claim.session_id, is_counted=overdue.is_counted
        )
        text = "\n".join(filter(None, (claim.text, _normalize_lines(notes))))
        return StoredSummary(_truncate(text, self._longest_summary), reached)

    def _piece(self, messages: Sequence[HistoryMessage]) -> list[HistoryMessage]:
        """Return as many of the first messages as one prompt may hold, and one at least."""
        room = self._budget
        said = list(messages)
        while room is not None and len(said) > 1 and prompt_tokens(summary_prompt(said)) > room:
            said.pop()
        return said

    @property
    def _longest_summary(self) -> int:
        room = self._budget
        return _MAX_SUMMARY_TOKENS if room is None else min(_MAX_SUMMARY_TOKENS, int(room * _MAX_PROMPT_SHARE))


def _normalize_lines(notes: str) -> str:
    lines = (line.strip() for line in notes.splitlines())
    return "\n".join(dict.fromkeys(line for line in lines if line))


def _truncate(notes: str, most_tokens: int) -> str:
    """Leave out lines from the middle until it is short enough: who one is comes first, what goes on last."""
    lines = notes.split("\n")
    while len(lines) > 1 and estimate_tokens_upper_bound("\n".join(lines)) > most_tokens:
        del lines[len(lines) // 2]
    # Three characters a token at most, one at least.
    return "\n".join(lines) if estimate_tokens_upper_bound("\n".join(lines)) <= most_tokens else lines[0][:most_tokens]
