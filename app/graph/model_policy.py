"""Model policy: the models of a turn, their instructions, sampling, timeouts and number of attempts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.graph.ports.chat_model import Sampling

InstructionsBuilder = Callable[[Mapping[str, Any]], str]
"""Takes the merged context of session and question, and returns the system prompt."""


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

    def with_model(self, model: str) -> "ModelPolicy":
        """Return the policy with another primary model, and the same fallback models."""
        return replace(self, models=tuple(dict.fromkeys((model, *self.models[1:]))))

    @property
    def max_retries(self) -> int:
        """Maximum number of attempts after the first, of all models together."""
        return len(self.models) * (self.retries_per_model + 1) - 1
