"""Model calls in the background, for summaries and titles. They count against the quota of the session's owner."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

from app.chat.accounting.cost import PriceList
from app.chat.accounting.ledger_entries import ledger_entries
from app.chat.accounting.turn_metrics import TurnMetrics
from app.core.schema_types import new_id
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.usage import ledger
from app.database.repositories.usage.ledger import CallPurpose
from app.database.retry_until_available import STORE_TIMEOUT, retry_until_available
from app.graph.attempt_record import ModelAttempt
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import (
    ChatModel,
    Completion,
    ModelError,
    ModelRequest,
    ModelTokenCounts,
    Sampling,
    TurnOwner,
)
from app.graph.ports.messages import PromptMessage
from app.graph.tokens import estimate_tokens, estimate_tokens_upper_bound
from app.services.limits.quotas import QuotaService, TurnBudget

MAX_TASKS = 32
"""Titles, and summaries, that a process writes at the same time.

While a model is slow, each takes a minute, and more of them would take its capacity from answers that clients wait for.
"""
_EXHAUSTED = "reasoning_exhausted"
_DEFAULT_ANSWER_TOKENS = 2048
"""Maximum number of tokens of an answer and its reasoning, if the settings have none."""


class NoCompletionError(Exception):
    """No model answered."""


@dataclass(frozen=True, slots=True)
class BackgroundModel:
    """Asks the default model, then the fallback models. Every attempt is recorded in the ledger."""

    model: ChatModel
    database: Database
    policy: ModelPolicy
    prices: PriceList
    quotas: QuotaService
    purpose: CallPurpose
    max_tokens: int
    """Maximum number of tokens of an answer."""
    metrics: TurnMetrics | None = None
    _reasoning_models: set[str] = field(default_factory=set)
    """Models that used up the tokens of an answer for reasoning, so that they get more."""

    @property
    def max_duration(self) -> timedelta:
        """Maximum duration of all attempts together."""
        return timedelta(seconds=2 * sum(map(self.policy.attempt_timeout_of, self.policy.models)))

    async def complete(
        self, messages: Sequence[PromptMessage], owner: TurnOwner, *, session_id: int, has_quota: bool
    ) -> Completion:
        """Return the answer to the messages. With `has_quota`, its cost is reserved first.

        Raises:
            NoCompletionError: no model answered.
            TooManyRequestsError: the quota is used up.
            DatabaseUnavailableError: PostgreSQL was not available for too long.

        """
        turn_id = new_id()
        if has_quota:
            life = self.max_duration + timedelta(seconds=STORE_TIMEOUT)
            await self.quotas.reserve(
                self._budget(messages), turn_id=turn_id, user_id=owner.user_id, session_uuid=None, life=life
            )
        attempts: list[ModelAttempt] = []
        try:
            for model in self.policy.models:
                was_reasoning = model in self._reasoning_models
                completion = await self._attempt(model, messages, owner, attempts)
                if completion is None and attempts[-1].error_code == _EXHAUSTED and not was_reasoning:
                    self._reasoning_models.add(model)
                    completion = await self._attempt(model, messages, owner, attempts)
                if completion is not None:
                    return completion
            raise NoCompletionError
        finally:
            calls = ledger_entries(attempts, self.prices, purpose=self.purpose)
            if self.metrics is not None:
                self.metrics.record_calls(calls)

            async def record() -> None:
                async with self.database.driver_connection(max_seconds=REQUEST_TIMEOUT) as connection:
                    await ledger.record_calls(
                        connection, turn_id=turn_id, user_id=owner.user_id, session_id=session_id, calls=calls
                    )

            await retry_until_available(record)

    async def _attempt(
        self, model: str, messages: Sequence[PromptMessage], owner: TurnOwner, attempts: list[ModelAttempt]
    ) -> Completion | None:
        # Temperature 0: the same conversation gives the same text, as far as the model permits.
        sampling = Sampling(temperature=0, max_tokens=self._max_tokens_of(model))
        request = ModelRequest(model, messages, sampling, owner)
        started = time.perf_counter()
        completion, code, token_counts = None, None, ModelTokenCounts()
        try:
            completion = await self.model.complete(request, max_seconds=self.policy.attempt_timeout_of(model))
            token_counts = completion.token_counts
        except ModelError as error:
            code = error.code
            if error.may_have_used_tokens:
                token_counts = error.token_counts or estimate_tokens(request.messages, "")
        except asyncio.CancelledError:
            token_counts = estimate_tokens(request.messages, "")
            raise
        finally:
            attempts.append(
                ModelAttempt(
                    model_requested=request.model,
                    is_fallback=request.model != self.policy.models[0],
                    latency_ms=round((time.perf_counter() - started) * 1000),
                    completion=completion,
                    error_code=code,
                    token_counts=token_counts,
                )
            )
        return completion

    def _budget(self, messages: Sequence[PromptMessage]) -> TurnBudget:
        prompt = sum(estimate_tokens_upper_bound(message["content"]) for message in messages)
        answers = {model: self._max_tokens_of(model) for model in self.policy.models}
        costs = (self.prices.cost(model, prompt, tokens) or Decimal(0) for model, tokens in answers.items())
        return TurnBudget(tokens=prompt + max(answers.values()), cost_usd=max(costs), prompt_price=Decimal(0))

    def _max_tokens_of(self, model: str) -> int:
        """Return the maximum number of tokens of an answer of the model, its reasoning included."""
        of_answers = self.policy.sampling_of(model).max_tokens
        if model not in self._reasoning_models:
            return min(self.max_tokens, of_answers or self.max_tokens)
        limit = of_answers or max(self.max_tokens, _DEFAULT_ANSWER_TOKENS)
        window = self.policy.context_windows.get(model)
        return limit if window is None else min(limit, max(self.max_tokens, window // 2))
