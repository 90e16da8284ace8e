"""Which model is asked, how long it may take, and what follows when it fails."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from app.graph.context import ChatContext
from app.graph.ports.chat_model import ModelError
from app.graph.state import ChatState

MODEL_SUSPENDED = "model_suspended"
"""Reason of a fallback: the model before was not asked, because it had failed too often."""

_BACKOFF_BASE = 0.25
"""Most seconds before the first repetition; doubled for each one after."""
_MAX_BACKOFF = 8.0
_MAX_WAIT_BEFORE_FALLBACK = 4.0
"""Seconds worth waiting for a model while another could be asked."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model that is asked now."""

    index: int
    """Its place in the policy."""
    earlier_attempts: int
    """Attempts made at it already."""
    fallback_reason: str | None
    """Why it is not the first model: the code of the failure that led here."""
    is_last_resort: bool
    """Whether it is asked although it had failed too often, because all that are left have."""


def choose_model(state: ChatState, context: ChatContext) -> ModelChoice:
    """Choose the next model that is worth asking. There always is one: a turn is never refused without a try."""
    models = context.policy.models
    first = state["model_index"]
    left = range(first, len(models))
    index = next((index for index in left if context.health.allow_request(models[index])), None)
    is_last_resort = index is None
    if index is None:
        index = min(left, key=lambda place: context.health.seconds_until_retry(models[place]))
    reason = state.get("fallback_reason")
    if index == first:
        return ModelChoice(index, state["model_attempts"], reason, is_last_resort)
    return ModelChoice(index, 0, reason or state.get("last_failure") or MODEL_SUSPENDED, is_last_resort)


def attempt_timeout(choice: ModelChoice, context: ChatContext, remaining: float) -> float:
    """Return how many of the remaining seconds of the turn one attempt gets."""
    limit = context.policy.attempt_timeout
    if choice.earlier_attempts > 0 and choice.index + 1 < len(context.policy.models):
        remaining -= limit  # a repetition leaves the next model a whole attempt
    return min(limit, remaining)


def plan_retry(state: ChatState, context: ChatContext, choice: ModelChoice, error: ModelError) -> dict[str, Any]:
    """Plan what follows a failed attempt: the same model after a pause, the next model, or the end.

    Once somebody has seen a part of an answer there is no other attempt: what was shown cannot be taken back.
    """
    the_end = {"error": error.code, "status": "error"}
    retry_count = state["retry_count"] + 1
    if context.shown or choice.is_last_resort or retry_count > state["max_retries"]:
        return the_end
    attempts = choice.earlier_attempts + 1
    again: dict[str, Any] = {
        "retry_count": retry_count,
        "last_failure": error.code,
        "fallback_reason": choice.fallback_reason,
        "status": "retry",
    }
    has_next_model = choice.index + 1 < len(context.policy.models)
    time_left = context.deadline - asyncio.get_running_loop().time()
    if error.retryable and attempts <= context.policy.retries_per_model:
        delay = backoff(attempts) if error.retry_after is None else error.retry_after
        # Not at the cost of the next model, which gets a whole attempt.
        timeouts = (
            min(_MAX_WAIT_BEFORE_FALLBACK, time_left - context.policy.attempt_timeout) if has_next_model else time_left
        )
        if delay < timeouts:
            return again | {"model_index": choice.index, "model_attempts": attempts, "retry_delay": delay}
    if has_next_model:
        return again | {
            "model_index": choice.index + 1,
            "model_attempts": 0,
            "retry_delay": 0.0,
            "fallback_reason": choice.fallback_reason or error.code,
        }
    return the_end


def backoff(attempts: int) -> float:
    """Return the seconds to wait after so many attempts at a model.

    All of it is random ("full jitter"): clients that failed together do not come back together.
    """
    return random.uniform(0, min(_BACKOFF_BASE * 2.0 ** (attempts - 1), _MAX_BACKOFF))  # noqa: S311 - not a secret
