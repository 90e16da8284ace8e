"""Which models answer, with which instructions, and how many attempts they get."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.graph.ports.chat_model import Sampling

InstructionsBuilder = Callable[[Mapping[str, Any]], str]
"""Writes the instructions for the model: takes the context of session and question together."""


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """Which models answer, what they are told, and how hard to try."""

    models: tuple[str, ...]
    """The primary, then the fallbacks in order."""
    retries_per_model: int
    attempt_timeout: float
    """Seconds one attempt may take."""
    history_messages: int
    """Earlier messages sent with a question, at most."""
    instructions: InstructionsBuilder
    """What they are told before anything else."""
    context_windows: Mapping[str, int] = field(default_factory=dict)
    """Tokens that question and answer may have together, by model. A model that is not here takes anything."""
    stream_pause: float = 20
    """Seconds between two pieces of a streamed answer."""
    stream_timeout: float = 300
    """Seconds a streamed answer may take once it has begun."""
    sampling: Sampling = field(default_factory=Sampling)
    """How they choose their words."""

    @property
    def max_retries(self) -> int:
        """Attempts after the first, at all models together."""
        return len(self.models) * (self.retries_per_model + 1) - 1
