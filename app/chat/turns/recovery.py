"""Settles answers whose process has died, with what they had said."""

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.chat.turns.answer_metadata import answer_metadata, total_tokens
from app.chat.turns.cost import PriceFunction, cost_usd
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import turn_recovery
from app.database.repositories.chat.turn_recovery import OrphanedTurn
from app.database.repositories.chat.turns import Answer
from app.database.repositories.usage.ledger import LedgerEntry

logger = logging.getLogger(__name__)

LoadPublishedText = Callable[[UUID], Awaitable[str | None]]
"""Gives the text that clients have seen of an answer. None: it cannot be had just now."""

CHARACTERS_PER_TOKEN = 4
"""As `app/graph/tokens.py` has it where a provider counts nothing."""
BATCH = 100
"""Answers settled in one go."""
_MAX_TEXT_WAIT = timedelta(seconds=3)
"""How long after its lease an answer waits for its text."""
_LEASE_RENEWAL_SECONDS = 5.0
"""Seconds after an outage of PostgreSQL within which every process that lives has renewed its leases."""


@dataclass(frozen=True, slots=True)
class UsageEstimate:
    """What is taken to have been asked, where nobody lived to tell."""

    model: str
    """Where the answer does not say which was."""
    history_messages: int
    """Earlier messages that went with the question, at most."""
    price: PriceFunction


@dataclass(frozen=True, slots=True)
class TurnRecovery:
    """The worker settles all of them; who needs a session's does not wait for the worker."""

    database: Database
    load_published_text: LoadPublishedText
    estimate: UsageEstimate

    @property
    def lease_expiry_is_reliable(self) -> bool:
        """Whether a lease that is over means that its process has died.

        Just after an outage it may mean that nobody could renew it.
        """
        return self.database.seconds_since_recovery() > _LEASE_RENEWAL_SECONDS

    async def recover_batch(self) -> int:
        """Settle the answers whose lease is over, `BATCH` at most, and say how many.

        What clients have seen of them is kept, if Redis has it and answers within some seconds.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away; those before are settled.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            found = await turn_recovery.find_orphaned(connection, limit=BATCH, sent_messages=self._sent_messages)
        settled = 0
        for turn in found:
            try:
                settled += await self._settle(turn)
            except DatabaseUnavailableError:
                raise
            except Exception:
                # The others need not wait until this one is cured.
                logger.exception("cannot settle an answer")
        return settled

    async def recover_in_session(self, *, user_id: int, session_uuid: UUID) -> bool:
        """Settle the answer that keeps a session busy, if its lease is over. False: there is none."""
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            found = await turn_recovery.find_orphaned_in_session(
                connection, user_id=user_id, session_uuid=session_uuid, sent_messages=self._sent_messages
            )
        return found is not None and await self._settle(found)

    async def _settle(self, turn: OrphanedTurn) -> bool:
        if not self.lease_expiry_is_reliable:
            return False
        content = await self.load_published_text(turn.answer_uuid)
        if content is None and turn.overdue < _MAX_TEXT_WAIT:
            return False
        call = self._call(turn, content or "")
        answer = Answer(
            content=content or "",
            status="interrupted",
            meta={"error": "interrupted"} | answer_metadata([call], model=call.model_requested),
            tokens_used=total_tokens([call]),
            processing_time_ms=0,
        )
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return await turn_recovery.interrupt_orphaned(connection, turn, answer, call)

    @property
    def _sent_messages(self) -> int:
        return self.estimate.history_messages + 1

    def _call(self, turn: OrphanedTurn, content: str) -> LedgerEntry:
        """Estimate the attempt that was under way."""
        model = turn.model or self.estimate.model
        prompt_tokens = math.ceil(turn.sent_characters / CHARACTERS_PER_TOKEN)
        completion_tokens = math.ceil(len(content) / CHARACTERS_PER_TOKEN)
        return LedgerEntry(
            attempt=1,
            model_requested=model,
            model_used=None,
            is_fallback=False,
            status="cancelled",
            error_code=None,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            is_estimated=True,
            latency_ms=0,
            cost_usd=cost_usd(
                self.estimate.price,
                requested=model,
                used=None,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
            ),
        )
