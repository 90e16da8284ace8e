"""Summaries of sessions that have outgrown their window, made by the model after a turn and never on a client's path.

The summary is a list of notes. Notes of the messages that have become too old are added at its end, so that what was
noted once is not told anew each time; when the list is too long, it is cut.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from app.chat.provenance import Price
from app.chat.runs import Outcome, ledger_entries, past_message
from app.core.exceptions import AppError
from app.core.types import new_id
from app.database.connection import PATIENCE, Database
from app.database.repositories import ledger, memory
from app.database.repositories.memory import Claim, StoredSummary
from app.database.repositories.turns import Turn
from app.graph.context import (
    Attempt,
    ChatModel,
    ModelError,
    ModelPolicy,
    ModelRequest,
    Owner,
    PastMessage,
    PromptMessage,
    Sampling,
)
from app.graph.prompts import note_taking
from app.graph.tokens import cautious_tokens, estimate_tokens
from app.graph.window import budget, prompt_cost, to_summarize

logger = logging.getLogger(__name__)

_NOTES = 160
"""Most tokens of the notes that are taken at once."""
_SUMMARY = 2000
"""Most tokens of a summary, cautiously counted."""
_SHARE = 0.25
"""Most of what a model's prompt may have that the summary may take."""
_PIECES = 16
"""Times that notes are taken after one turn. What is left has its turn after the next one."""
_LEASE_SLACK = timedelta(seconds=15)
"""What storing takes, besides the model's time."""
_FAREWELL = 3.0
"""Seconds for what a summary leaves that is cut short."""


class _NoNotesError(Exception):
    """No model took notes."""


@dataclass(slots=True)
class Summarizer:
    """Keeps the summaries of sessions that go on here. A summary that fails is tried again after the next turn."""

    model: ChatModel
    database: Database
    policy: ModelPolicy
    price: Price
    batch: int
    """Messages that notes are taken of at once."""
    _tasks: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    """What is under way, by session."""

    def after(self, turn: Turn, owner: Owner, outcome: Outcome) -> None:
        """Go on with the summary of a session, if the next question would leave something out that is not in it."""
        started = turn.started
        if turn.answer.status != "complete" or started.session_id in self._tasks:
            return
        said: list[PastMessage] = [
            *outcome.remembered.messages,
            {"seq": started.question_seq, "role": "user", "content": turn.question},
            {"seq": started.question_seq + 1, "role": "assistant", "content": turn.answer.content},
        ]
        room = self._budget
        if room is not None:
            room -= cautious_tokens(self.policy.instructions(started.session_meta))
        upto_seq = to_summarize(
            said, outcome.remembered.summary, most_messages=self.policy.history_messages, budget=room
        )
        if upto_seq is not None:
            task = asyncio.create_task(self._extend(started.session_id, owner, upto_seq))
            self._tasks[started.session_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(started.session_id))

    async def drain(self, grace: float) -> None:
        """Let what is under way finish for `grace` seconds, then give it up. Nothing is lost by that."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=grace)
        if left := list(self._tasks.values()):
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_FAREWELL)

    @property
    def _budget(self) -> int | None:
        return budget(self.policy, self.policy.models[0])

    async def _extend(self, session_id: int, owner: Owner, upto_seq: int) -> None:
        try:
            for _ in range(_PIECES):
                if not await self._extend_by_a_piece(session_id, owner, upto_seq):
                    break
        except (_NoNotesError, AppError) as error:
            logger.warning("no summary", extra={"code": getattr(error, "code", "no_notes")})
        except Exception:
            logger.exception("no summary")

    async def _extend_by_a_piece(self, session_id: int, owner: Owner, upto_seq: int) -> bool:
        """Return whether there may be more to do."""
        async with self.database.autocommit(max_seconds=PATIENCE) as connection:
            claim = await memory.claim_summary(
                connection,
                user_id=owner.user_id,
                session_id=session_id,
                upto_seq=upto_seq,
                lease=self._longest + _LEASE_SLACK,
            )
        if claim is None:
            return False
        is_stored = False
        try:
            summary = await self._next(claim, owner, upto_seq)
            async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                is_stored = await memory.store_summary(connection, claim, summary)
        finally:
            if not is_stored:
                await self._release(claim)
        return is_stored and summary.upto_seq < upto_seq

    @property
    def _longest(self) -> timedelta:
        return timedelta(seconds=len(self.policy.models) * self.policy.attempt_timeout)

    async def _release(self, claim: Claim) -> None:
        async with self.database.autocommit(max_seconds=PATIENCE) as connection:
            await memory.release_summary(connection, claim)

    async def _next(self, claim: Claim, owner: Owner, upto_seq: int) -> StoredSummary:
        async with self.database.autocommit(max_seconds=PATIENCE) as connection:
            rows = await memory.unsummarized(connection, claim, upto_seq=upto_seq, limit=self.batch)
        said = self._piece([past_message(row) for row in rows])
        is_last = len(said) == len(rows) < self.batch
        reached = upto_seq if is_last else said[-1]["seq"]
        if not said:  # failed answers only
            return StoredSummary(claim.text, reached)
        notes = await self._ask(note_taking(said), claim, owner)
        text = "\n".join(filter(None, (claim.text, _tidy(notes))))
        return StoredSummary(_cut(text, self._longest_summary), reached)

    def _piece(self, messages: Sequence[PastMessage]) -> list[PastMessage]:
        """Return as many of the first messages as one prompt may hold, and one at least."""
        room = self._budget
        said = list(messages)
        while room is not None and len(said) > 1 and prompt_cost(note_taking(said)) > room:
            said.pop()
        return said

    @property
    def _longest_summary(self) -> int:
        room = self._budget
        return _SUMMARY if room is None else min(_SUMMARY, int(room * _SHARE))

    async def _ask(self, messages: Sequence[PromptMessage], claim: Claim, owner: Owner) -> str:
        """Ask one model after the other. Every attempt is in the ledger.

        Raises:
            _NoNotesError: none answered.

        """
        attempts: list[Attempt] = []
        try:
            for model in self.policy.models:
                began = time.perf_counter()
                # The same conversation gives the same notes, as far as the model can.
                sampling = Sampling(temperature=0, max_tokens=_NOTES)
                request = ModelRequest(model, messages, sampling, owner)
                completion, code, estimate = None, None, None
                try:
                    completion = await self.model.complete(request, max_seconds=self.policy.attempt_timeout)
                except ModelError as error:
                    code = error.code
                except asyncio.CancelledError:
                    estimate = estimate_tokens(messages, "")
                    raise
                finally:
                    milliseconds = round((time.perf_counter() - began) * 1000)
                    attempts.append(
                        Attempt(
                            model_requested=model,
                            is_fallback=model != self.policy.models[0],
                            latency_ms=milliseconds,
                            completion=completion,
                            error_code=code,
                            estimate=estimate,
                        )
                    )
                if completion is not None:
                    return completion.text
            raise _NoNotesError
        finally:
            async with self.database.autocommit(max_seconds=PATIENCE) as connection:
                await ledger.record_calls(
                    connection,
                    turn_id=new_id(),
                    user_id=owner.user_id,
                    session_id=claim.session_id,
                    calls=ledger_entries(attempts, self.price, purpose="summary"),
                )


def _tidy(notes: str) -> str:
    lines = (line.strip() for line in notes.splitlines())
    return "\n".join(dict.fromkeys(line for line in lines if line))


def _cut(notes: str, most_tokens: int) -> str:
    """Leave out lines from the middle until it is short enough: who one is comes first, what goes on last."""
    lines = notes.split("\n")
    while len(lines) > 1 and cautious_tokens("\n".join(lines)) > most_tokens:
        del lines[len(lines) // 2]
    # Three characters a token at most, one at least.
    return "\n".join(lines) if cautious_tokens("\n".join(lines)) <= most_tokens else lines[0][:most_tokens]
