"""Port to language models: request, completion, error, and the protocol of an adapter."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

from app.graph.ports.messages import ModelMessage
from app.graph.ports.tool_calls import PublishToolCalls, ToolCall


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters of a model call. None: the provider's default."""

    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    max_tokens: int | None = None
    """Maximum number of tokens of the answer."""

    def with_defaults(self, defaults: "Sampling") -> "Sampling":
        """Return a copy in which `defaults` fill in the parameters that are None."""
        return _combined(self, defaults)

    def without_none(self) -> dict[str, float]:
        """Return the parameters that are set, by name."""
        return {name: value for name in _PARAMETERS if (value := getattr(self, name)) is not None}


_PARAMETERS = tuple(parameter.name for parameter in fields(Sampling))


@lru_cache(maxsize=1024)  # a turn combines the same ones several times
def _combined(own: Sampling, defaults: Sampling) -> Sampling:
    return Sampling(
        **{name: getattr(defaults if getattr(own, name) is None else own, name) for name in _PARAMETERS},
    )


@dataclass(frozen=True, slots=True)
class TurnOwner:
    """The user, and the session if any, to whom a question belongs."""

    user_id: int
    user_uuid: UUID
    session_uuid: UUID | None = None
    """None: the question belongs to no session."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Request to a model."""

    model: str
    messages: Sequence[ModelMessage]
    parameters: Sampling
    owner: TurnOwner
    """Scopes the response cache. It is never sent to the provider."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Other parameters of the provider's API, which are sent as they are: `tools`, `response_format` and the like."""

    @property
    def offers_tools(self) -> bool:
        """Whether the model may answer with tool calls."""
        return "tools" in self.options

    @property
    def is_cacheable(self) -> bool:
        """Whether an equal request may get the same answer. Tool calls and log probabilities are never cached."""
        return not (self.offers_tools or self.options.get("logprobs"))


@dataclass(frozen=True, slots=True)
class ModelTokenCounts:
    """Tokens that an attempt used."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_estimated: bool = False
    """Whether the counts are an estimate because the provider reported none."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A complete answer. Adapters raise `ModelError` for an answer without a finish reason."""

    text: str
    model: str
    """As the provider names it, which may be more specific than the name in the request."""
    finish_reason: str
    token_counts: ModelTokenCounts
    is_cached: bool = False
    """Whether the answer comes from the cache or a shared call: then `token_counts` are those of the original call."""
    is_repaired: bool = False
    """Whether characters that cannot be stored were removed from the text."""
    reasoning: str = ""
    """What the model thought before the answer, as far as the provider sends it. It is not a part of the answer."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Tools that the model asks the client to run. Such an answer may have no text."""
    logprobs: tuple[Any, ...] = ()
    """Log probabilities of the tokens as the provider sends them, if the request asks for them."""


class ModelError(Exception):
    """A model call failed. `code` is stable and safe for clients; the provider's message is logged only."""

    def __init__(
        self,
        code: str,
        *,
        retryable: bool,
        retry_after: float | None = None,
        is_model_fault: bool = True,
        may_have_used_tokens: bool = False,
        token_counts: ModelTokenCounts | None = None,
    ) -> None:
        """Create the error.

        `retryable`: a retry of the same request with the same model may succeed.
        `retry_after`: seconds to wait before a retry, as the provider asked; None: it did not ask.
        `is_model_fault`: the failure counts against the model's health. False: it is specific to this request.
        `may_have_used_tokens`: the provider may charge for the attempt, so its tokens are estimated.
        `token_counts`: the tokens that the provider reported for the attempt; None: it reported none.
        """
        self.code = code
        self.retryable = retryable
        self.retry_after = retry_after
        self.is_model_fault = is_model_fault
        self.may_have_used_tokens = may_have_used_tokens
        self.token_counts = token_counts
        super().__init__(code)


class SharedCallLeftError(asyncio.CancelledError):
    """A request was cancelled whose call continues for others, or has ended. They account for its tokens."""


@dataclass(frozen=True, slots=True)
class StreamTimeouts:
    """Timeouts of one streamed attempt, in seconds."""

    first_token: float
    """Until the first text."""
    idle: float
    """Between two pieces of text."""
    total: float
    """For the whole attempt; after reasoning, for its text."""
    reasoning: float = 0
    """Until the first text, if reasoning or comments arrive before it, at most `idle` apart."""


PublishText = Callable[[str], None]
"""Takes the next piece of an answer's text. It neither blocks nor raises."""


class ChatModel(Protocol):
    """Client of language models. Implementations make single attempts; the graph retries."""

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        """Make one attempt, which takes at most `max_seconds`.

        Raises:
            ModelError: there is no complete answer.

        """
        ...

    async def stream(
        self,
        request: ModelRequest,
        publish: PublishText,
        *,
        timeouts: StreamTimeouts,
        publish_reasoning: PublishText | None = None,
        publish_tool_calls: PublishToolCalls | None = None,
    ) -> Completion:
        """Make one attempt, publish the text piece by piece as it arrives, and return the complete answer.

        `publish_reasoning` takes the pieces of what the model thinks before the answer, if the provider sends it. An
        empty piece is another sign of life before the answer. `publish_tool_calls` takes the pieces of tool calls.

        Raises:
            ModelError: there is no complete answer. A part of it may have been published.

        """
        ...
