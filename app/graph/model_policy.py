"""Model policy: the models of a turn, their instructions, sampling, timeouts and number of attempts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.graph.ports.chat_model import Sampling

InstructionsBuilder = Callable[[Mapping[str, Any]], str]
"""Takes the merged context of session and question, and returns the system prompt."""


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What differs between the calls of models. None: the value of the policy."""

    max_output_tokens: int | None = None
    """Maximum number of tokens of one answer that the model can write."""
    temperature: float | None = None
    """Temperature of requests that choose none."""
    attempt_timeout: float | None = None
    stream_idle_timeout: float | None = None


_NO_LIMITS = ModelLimits()


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """The models of a turn, with the parameters of their calls."""

    models: tuple[str, ...]
    """The primary model, then the fallback models in order."""
    retries_per_model: int
    """Maximum number of retries of each model after its first attempt."""
    attempt_timeout: float
    """Timeout of one attempt in seconds; of a streamed one, until its first text."""
    history_messages: int
    """Maximum number of earlier messages that are sent with a question."""
    instructions: InstructionsBuilder
    """Builds the system prompt."""
    context_windows: Mapping[str, int] = field(default_factory=dict)
    """Tokens of prompt and answer together, by model. A model that is missing here has no limit."""
    stream_idle_timeout: float = 20
    """Maximum seconds between two pieces of a streamed answer."""
    stream_timeout: float = 300
    """Maximum seconds of a streamed answer after its first text."""
    reasoning_timeout: float = 600
    """Maximum seconds of a streamed attempt until its first text, while the model is thinking."""
    sampling: Sampling = field(default_factory=Sampling)
    """Sampling parameters that the request does not choose."""
    requested_sampling: Sampling = field(default_factory=Sampling)
    """Sampling parameters that the request chooses."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """See `ModelRequest`."""
    limits: Mapping[str, ModelLimits] = field(default_factory=dict)
    """Limits of the models that have some."""

    def sampling_of(self, model: str) -> Sampling:
        """Return the sampling parameters of calls of a model."""
        limits = self._limits_of(model)
        defaults = Sampling(temperature=limits.temperature).with_defaults(self.sampling)
        sampling = self.requested_sampling.with_defaults(defaults)
        if limits.max_output_tokens is None:
            return sampling
        max_tokens = limits.max_output_tokens
        return replace(sampling, max_tokens=min(sampling.max_tokens or max_tokens, max_tokens))

    def attempt_timeout_of(self, model: str) -> float:
        """Return the timeout of one attempt with a model in seconds; of a streamed one, until its first text."""
        return self._limits_of(model).attempt_timeout or self.attempt_timeout

    def stream_idle_timeout_of(self, model: str) -> float:
        """Return the maximum seconds between two pieces of a streamed answer of a model."""
        return self._limits_of(model).stream_idle_timeout or self.stream_idle_timeout

    def _limits_of(self, model: str) -> ModelLimits:
        return self.limits.get(model, _NO_LIMITS)

    def with_model(self, model: str) -> "ModelPolicy":
        """Return the policy with another primary model, and the same fallback models."""
        return replace(self, models=tuple(dict.fromkeys((model, *self.models[1:]))))

    @property
    def max_retries(self) -> int:
        """Maximum number of attempts after the first, of all models together."""
        return len(self.models) * (self.retries_per_model + 1) - 1
