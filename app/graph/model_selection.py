"""Selection of the model for the next attempt."""

from dataclasses import dataclass

from app.graph.context import ChatContext
from app.graph.state import ChatState

MODEL_SUSPENDED = "model_suspended"
"""Fallback reason: the model before was not called because its circuit breaker is open."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model of the next attempt."""

    index: int
    """Index in the policy's models."""
    earlier_attempts: int
    """Attempts of this model so far."""
    fallback_reason: str | None
    """Why the primary model is no longer used: an error code, or `model_suspended`. None: it is used."""
    is_last_resort: bool
    """Whether the model is suspended, and is called because all remaining models are."""


def choose_model(state: ChatState, context: ChatContext) -> ModelChoice:
    """Choose the next model that may be called; if none may, the one whose suspension ends first."""
    models = context.policy.models
    first = state["model_index"]
    remaining_indexes = range(first, len(models))
    index = next((index for index in remaining_indexes if context.health.allow_request(models[index])), None)
    is_last_resort = index is None
    if index is None:
        index = min(remaining_indexes, key=lambda candidate: context.health.seconds_until_retry(models[candidate]))
    reason = state.get("fallback_reason")
    if index == first:
        return ModelChoice(index, state["model_attempts"], reason, is_last_resort)
    return ModelChoice(index, 0, reason or state.get("last_failure") or MODEL_SUSPENDED, is_last_resort)
