"""Retry policy: timeout of an attempt; retry, backoff or fallback after a failure."""

import asyncio
import random
from typing import Any

from app.graph.context import ChatContext
from app.graph.model_policy import ModelPolicy
from app.graph.model_selection import ModelChoice
from app.graph.ports.chat_model import ModelError
from app.graph.state import ChatState

_BACKOFF_BASE = 0.25
"""Maximum seconds before the first retry; doubled for each further one."""

_MAX_BACKOFF = 8.0

_MAX_WAIT_BEFORE_FALLBACK = 4.0
"""Maximum seconds to wait for a retry of a model while there is a fallback model."""


def attempt_timeout(choice: ModelChoice, policy: ModelPolicy, remaining: float) -> float:
    """Return the timeout of an attempt in seconds. `remaining`: seconds until the deadline of the turn."""
    if choice.earlier_attempts > 0 and choice.index + 1 < len(policy.models):
        # A retry leaves enough time for one attempt of the next model.
        remaining -= policy.attempt_timeout_of(policy.models[choice.index + 1])
    return min(policy.attempt_timeout_of(policy.models[choice.index]), remaining)


def plan_retry(state: ChatState, context: ChatContext, choice: ModelChoice, error: ModelError) -> dict[str, Any]:
    """Return the state update after a failed attempt: retry after a delay, fall back to the next model, or fail.

    There is no other attempt once a part of the answer has been published, because it cannot be retracted.
    """
    failed = {"error": error.code, "status": "error"}
    retry_count = state["retry_count"] + 1
    if context.has_published or choice.is_last_resort or retry_count > state["max_retries"]:
        return failed
    attempts = choice.earlier_attempts + 1
    retry: dict[str, Any] = {
        "retry_count": retry_count,
        "last_failure": error.code,
        "fallback_reason": choice.fallback_reason,
        "status": "retry",
    }
    has_next_model = choice.index + 1 < len(context.policy.models)
    time_left = context.deadline - asyncio.get_running_loop().time()
    if error.retryable and attempts <= context.policy.retries_per_model:
        delay = backoff(attempts) if error.retry_after is None else error.retry_after
        # The delay leaves enough time for one attempt of the next model.
        max_delay = time_left
        if has_next_model:
            next_attempt = context.policy.attempt_timeout_of(context.policy.models[choice.index + 1])
            max_delay = min(_MAX_WAIT_BEFORE_FALLBACK, time_left - next_attempt)
        if delay < max_delay:
            return retry | {"model_index": choice.index, "model_attempts": attempts, "retry_delay": delay}
    if has_next_model:
        return retry | {
            "model_index": choice.index + 1,
            "model_attempts": 0,
            "retry_delay": 0.0,
            "fallback_reason": choice.fallback_reason or error.code,
        }
    return failed


def backoff(attempts: int) -> float:
    """Return the seconds to wait after a number of attempts: exponential backoff with full jitter.

    The jitter spreads the retries of clients that failed at the same time.
    """
    return random.uniform(0, min(_BACKOFF_BASE * 2.0 ** (attempts - 1), _MAX_BACKOFF))  # noqa: S311 - not a secret
