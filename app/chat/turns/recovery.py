"""Recovery of orphaned turns: their process was killed, so their answers are stored as interrupted."""

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.chat.accounting.answer_metadata import answer_metadata, total_tokens
from app.chat.accounting.cost import PriceList, cost_usd
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.turns import turn_recovery
from app.database.repositories.turns.turn_recovery import OrphanedTurn
from app.database.repositories.turns.turns import Answer
from app.database.repositories.usage.ledger import LedgerEntry

logger = logging.getLogger(__name__)

LoadPublishedText = Callable[[UUID], Awaitable[str | None]]
"""Returns the text of an answer that Redis has. None: Redis is not available."""

CHARACTERS_PER_TOKEN = 4
"""Estimate where the provider reported no usage; the same as in `app/graph/tokens.py`."""
BATCH = 100
"""Maximum number of answers recovered in one run."""
_MAX_TEXT_WAIT = timedelta(seconds=3)
"""Time after the end of its lease for which an answer waits for Redis to return its text."""
_LEASE_RENEWAL_SECONDS = 5.0
"""Seconds after an outage of PostgreSQL within which every living process has renewed its leases."""


@dataclass(frozen=True, slots=True)
class UsageEstimate:
    """Assumptions for the ledger entry of a turn whose process cannot report its usage."""

    model: str
    """Model, if the answer does not name one."""
    history_messages: int
    """Maximum number of earlier messages sent with the question."""
    prices: PriceList


@dataclass(frozen=True, slots=True)
class TurnRecovery:
    """Stores orphaned answers. The worker recovers all of them, a new question those of its session at once."""

    database: Database
    load_published_text: LoadPublishedText
    estimate: UsageEstimate

    @property
    def lease_expiry_is_reliable(self) -> bool:
        """Whether an expired lease means that its process was killed.

        Just after an outage of PostgreSQL it may mean that no process could renew its leases.
        """
        return self.database.seconds_since_recovery() > _LEASE_RENEWAL_SECONDS

    async def recover_batch(self) -> int:
        """Recover at most `BATCH` orphaned answers and return their number.

        Text that clients have seen is stored, if Redis has it and responds within some seconds.

        Raises:
            DatabaseUnavailableError: PostgreSQL is not available; answers recovered before stay so.

        """
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            orphaned = await turn_recovery.find_orphaned(connection, limit=BATCH, sent_messages=self._sent_messages)
        recovered = 0
        for turn in orphaned:
            try:
                recovered += await self._recover(turn)
            except DatabaseUnavailableError:
                raise
            except Exception:
                # One answer that cannot be recovered must not block the others.
                logger.exception("turn recovery failed")
        return recovered

    async def recover_in_session(self, *, user_id: int, session_uuid: UUID) -> bool:
        """Recover the orphaned answer of a session. False: there is none."""
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            turn = await turn_recovery.find_orphaned_in_session(
                connection, user_id=user_id, session_uuid=session_uuid, sent_messages=self._sent_messages
            )
        return turn is not None and await self._recover(turn)

    async def _recover(self, turn: OrphanedTurn) -> bool:
        if not self.lease_expiry_is_reliable:
            return False
        content = await self.load_published_text(turn.answer_uuid)
        if content is None and turn.overdue < _MAX_TEXT_WAIT:
            return False
        call = self._ledger_entry(turn, content or "")
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

    def _ledger_entry(self, turn: OrphanedTurn, content: str) -> LedgerEntry:
        """Estimate the attempt that was in progress."""
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
                self.estimate.prices,
                requested=model,
                used=None,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
            ),
            provider=self.estimate.prices.provider_of(model),
        )
