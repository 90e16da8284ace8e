"""What a run of the graph is given from outside: its ports, and the limits it works under.

Nothing here is global and nothing secret enters the state, so tests pass fakes and a trace shows no key.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol, TypedDict
from uuid import UUID


class PromptMessage(TypedDict):
    """One message as the model gets it."""

    role: Literal["system", "user", "assistant"]
    content: str


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


class ModelHealth(Protocol):
    """The port to what is known of models from earlier attempts. Only models of the allow-list are asked about."""

    def allow_request(self, model: str) -> bool:
        """Tell whether a model is worth asking now. Whoever is told so asks it, and says how it went."""
        ...

    def seconds_until_retry(self, model: str) -> float:
        """Return in how many seconds it will be."""
        ...

    def record_success(self, model: str) -> None:
        """Note that a model answered."""
        ...

    def record_failure(self, model: str, *, pause: float | None) -> None:
        """Note that it did not. `pause`: seconds that the provider asked to be left alone."""
        ...


class AlwaysHealthy:
    """`ModelHealth` that knows nothing: every model is worth asking."""

    def allow_request(self, _model: str) -> bool:
        """See `ModelHealth`."""
        return True

    def seconds_until_retry(self, _model: str) -> float:
        """See `ModelHealth`."""
        return 0

    def record_success(self, model: str) -> None:
        """See `ModelHealth`."""

    def record_failure(self, model: str, *, pause: float | None) -> None:
        """See `ModelHealth`."""


class TextSink(Protocol):
    """The port to those who read along."""

    @property
    def text(self) -> str:
        """What they have been shown so far. It can be added to, and not taken back."""
        ...

    def publish(self, piece: str) -> None:
        """Show the next piece. Neither blocks nor fails."""
        ...


class HistoryMessage(TypedDict):
    """A message of the session, said before."""

    seq: int
    """Its position in the session."""
    role: Literal["user", "assistant"]
    content: str


class Summary(TypedDict):
    """What is kept in mind of the older messages of a session."""

    text: str
    upto_seq: int
    """Position of the last message that is in it."""


@dataclass(frozen=True, slots=True)
class SessionHistory:
    """What is known of a session before a question."""

    messages: list[HistoryMessage] = field(default_factory=list)
    """The newest, oldest first."""
    summary: Summary | None = None


class ConversationHistory(Protocol):
    """The port to what was said before."""

    async def load(self, session_id: UUID, *, before_seq: int, limit: int) -> SessionHistory:
        """Return the newest `limit` messages before `before_seq`, and the summary of the older ones."""
        ...


InstructionsBuilder = Callable[[Mapping[str, Any]], str]
"""Writes the instructions for the model: takes the context of session and question together."""


@dataclass(frozen=True, slots=True)
class ModelAttempt:
    """One call of a model, for the ledger. Neither completed nor failed: it was cancelled."""

    model_requested: str
    is_fallback: bool
    latency_ms: int
    fallback_reason: str | None = None
    """Why the first model was not asked, or not again: the code of its failure, or `model_suspended`."""
    backoff_ms: int = 0
    """The pause before it."""
    completion: Completion | None = None
    error_code: str | None = None
    first_token_ms: int | None = None
    """Until the first text of a streamed attempt."""
    token_counts: TokenCounts = TokenCounts()
    """What it took, where nobody else is known to have paid for it."""


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
    sampling: Sampling = Sampling()
    """How they choose their words."""

    @property
    def max_retries(self) -> int:
        """Attempts after the first, at all models together."""
        return len(self.models) * (self.retries_per_model + 1) - 1


@dataclass(frozen=True, slots=True)
class ChatContext:
    """The injected resources of one run."""

    model: ChatModel
    conversation_history: ConversationHistory
    policy: ModelPolicy
    owner: TurnOwner
    deadline: float
    """When the run must be over, on the event loop's clock; when a streamed answer must have begun."""
    health: ModelHealth = field(default_factory=AlwaysHealthy)
    sink: TextSink | None = None
    """Who reads along. None: nobody does, and the model is asked for its answer in one piece."""
    attempts: list[ModelAttempt] = field(default_factory=list)
    """Filled as attempts end, and kept outside the state so that a run that is cut short is accounted for too."""

    @property
    def sampling(self) -> Sampling:
        """How this answer is to be made."""
        return self.policy.sampling

    @property
    def shown(self) -> str:
        """What of the answer somebody may have seen already."""
        return self.sink.text if self.sink else ""
