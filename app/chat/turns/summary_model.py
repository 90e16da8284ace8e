"""Having a model take notes of what was said: paid for by the owner of the session, as its answers are."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from app.chat.turns.answer_metadata import Price
from app.chat.turns.graph_run import ledger_entries
from app.core.types import new_id
from app.database.connection import PATIENCE, Database
from app.database.repositories.usage import ledger
from app.database.retry import STORE_PATIENCE, insist
from app.graph.context import (
    Attempt,
    ChatModel,
    Completion,
    ModelError,
    ModelPolicy,
    ModelRequest,
    Owner,
    PromptMessage,
    Sampling,
    Spent,
)
from app.graph.tokens import cautious_tokens, estimate_tokens
from app.services.limits.quotas import Budget, Quotas

_NOTES = 160
"""Most tokens of the notes that are taken at once."""


class NoNotesError(Exception):
    """No model took notes."""


@dataclass(frozen=True, slots=True)
class NoteTaker:
    """Asks the models of the settings, one after the other. Every attempt is in the ledger."""

    model: ChatModel
    database: Database
    policy: ModelPolicy
    price: Price
    quotas: Quotas

    @property
    def longest(self) -> timedelta:
        """How long all attempts may take together."""
        return timedelta(seconds=len(self.policy.models) * self.policy.attempt_timeout)

    async def take(self, messages: Sequence[PromptMessage], owner: Owner, *, session_id: int, is_counted: bool) -> str:
        """Return the notes. `is_counted`: the owner has a quota.

        Raises:
            NoNotesError: no model took any.
            TooManyRequestsError: nothing is left of the quota.
            DatabaseUnavailableError: PostgreSQL was away for too long.

        """
        turn_id = new_id()
        if is_counted:
            life = self.longest + timedelta(seconds=STORE_PATIENCE)
            await self.quotas.reserve(
                self._budget(messages), turn_id=turn_id, user_id=owner.user_id, session_uuid=None, life=life
            )
        attempts: list[Attempt] = []
        try:
            for model in self.policy.models:
                # The same conversation gives the same notes, as far as the model can.
                sampling = Sampling(temperature=0, max_tokens=_NOTES)
                completion = await self._try(ModelRequest(model, messages, sampling, owner), attempts)
                if completion is not None:
                    return completion.text
            raise NoNotesError
        finally:
            calls = ledger_entries(attempts, self.price, purpose="summary")

            async def record() -> None:
                async with self.database.direct(max_seconds=PATIENCE) as connection:
                    await ledger.record_calls(
                        connection, turn_id=turn_id, user_id=owner.user_id, session_id=session_id, calls=calls
                    )

            await insist(record)

    async def _try(self, request: ModelRequest, attempts: list[Attempt]) -> Completion | None:
        began = time.perf_counter()
        completion, code, spent = None, None, Spent()
        try:
            completion = await self.model.complete(request, max_seconds=self.policy.attempt_timeout)
            spent = completion.spent
        except ModelError as error:
            code = error.code
            if error.may_have_cost:
                spent = error.spent or estimate_tokens(request.messages, "")
        except asyncio.CancelledError:
            spent = estimate_tokens(request.messages, "")
            raise
        finally:
            attempts.append(
                Attempt(
                    model_requested=request.model,
                    is_fallback=bool(attempts),
                    latency_ms=round((time.perf_counter() - began) * 1000),
                    completion=completion,
                    error_code=code,
                    spent=spent,
                )
            )
        return completion

    def _budget(self, messages: Sequence[PromptMessage]) -> Budget:
        prompt = sum(cautious_tokens(message["content"]) for message in messages)
        costs = (self.price(model, prompt, _NOTES) or Decimal(0) for model in self.policy.models)
        return Budget(tokens=prompt + _NOTES, cost_usd=max(costs), prompt_price=Decimal(0))
