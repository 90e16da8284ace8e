"""Port to language models: request, completion, error, and the protocol of an adapter."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol
from uuid import UUID

from app.graph.ports.messages import PromptMessage


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a model is to choose its words. None: as the model does by itself."""

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    max_tokens: int | None = None
    """Most tokens of the answer."""

    def over(self, defaults: "Sampling") -> "Sampling":
        """Return these parameters, and the defaults where they say nothing."""
        mine = ((name, getattr(self, name)) for name in _PARAMETERS)
        return Sampling(**{name: getattr(defaults, name) if value is None else value for name, value in mine})

    def given(self) -> dict[str, float]:
        """Return the parameters that say something, by name."""
        return {name: value for name in _PARAMETERS if (value := getattr(self, name)) is not None}


_PARAMETERS = tuple(parameter.name for parameter in fields(Sampling))


@dataclass(frozen=True, slots=True)
class TurnOwner:
    """Whose question it is."""

    user_id: int
    user_uuid: UUID
    session_uuid: UUID | None = None
    """None: the question belongs to no session."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is asked."""

    model: str
    messages: Sequence[PromptMessage]
    parameters: Sampling
    owner: TurnOwner
    """For whom. It never reaches the provider."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens that an attempt took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_estimated: bool = False
    """Whether the counts are ours because the provider gave none."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer. An answer without a finish reason is not one: adapters raise `ModelError` instead."""

    text: str
    model: str
    """As the provider names it, which may be more exact than what was asked for."""
    finish_reason: str
    token_counts: TokenCounts
    is_cached: bool = False
    """Whether no model was asked, because the answer was known: `token_counts` is what it took when it was made."""
    is_repaired: bool = False
    """Whether the provider sent what cannot be stored, which was left out."""


class ModelError(Exception):
    """A model gave no answer. `code` is stable and safe to show; the provider's own words go to the log only."""

    def __init__(
        self,
        code: str,
        *,
        retryable: bool,
        retry_after: float | None = None,
        is_model_fault: bool = True,
        may_have_used_tokens: bool = False,
        token_counts: TokenCounts | None = None,
    ) -> None:
        """Say what went wrong.

        `retryable`: the same request may succeed at the same model. `retry_after`: seconds the provider asked to be
        left alone. `is_model_fault`: another request would have failed too. `may_have_used_tokens`: the model may have
        worked all the same, so somebody has to account for it. `token_counts`: what the provider says it took.
        """
        self.code = code
        self.retryable = retryable
        self.retry_after = retry_after
        self.is_model_fault = is_model_fault
        self.may_have_used_tokens = may_have_used_tokens
        self.token_counts = token_counts
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """How long one streamed attempt is waited for, in seconds."""

    first: float
    """Until the first text."""
    pause: float
    """From one text to the next."""
    total: float
    """All together."""


PublishText = Callable[[str], None]
"""Takes the next piece of an answer's text. It neither blocks nor fails."""


class ChatModel(Protocol):
    """The port to language models."""

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        """Make one attempt, which takes at most `max_seconds`.

        Raises:
            ModelError: no whole answer came, for whatever reason.

        """
        ...

    async def stream(self, request: ModelRequest, publish: PublishText, *, timeouts: StreamTimeouts) -> Completion:
        """Make one attempt, and hand over the text piece by piece as it comes. Return the whole of it.

        Raises:
            ModelError: no whole answer came, although a part of it may have been handed over.

        """
        ...
