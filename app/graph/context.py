"""The injected resources of one run of the graph, and the attempts that the run records."""

from dataclasses import dataclass, field

from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import ChatModel, Completion, Sampling, TokenCounts, TurnOwner
from app.graph.ports.conversation_history import ConversationHistory
from app.graph.ports.model_health import AlwaysHealthy, ModelHealth
from app.graph.ports.text_sink import TextSink


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
    token_counts: TokenCounts = field(default_factory=TokenCounts)
    """What it took, where nobody else is known to have paid for it."""


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
