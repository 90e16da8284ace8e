"""Record of one call of a model, for the ledger."""

from dataclasses import dataclass, field

from app.graph.ports.chat_model import Completion, ModelTokenCounts


@dataclass(frozen=True, slots=True)
class ModelAttempt:
    """One call of a model. With neither a completion nor an error code, it was cancelled."""

    model_requested: str
    is_fallback: bool
    latency_ms: int
    fallback_reason: str | None = None
    """Why the primary model was not called, or not again: the code of its failure, or `model_suspended`."""
    backoff_ms: int = 0
    """Wait before the call."""
    completion: Completion | None = None
    error_code: str | None = None
    is_request_fault: bool = False
    """Whether the failure is specific to this request, as opposed to one of the model or its provider."""
    first_token_ms: int | None = None
    """Time to the first text of a streamed attempt. None: not streamed, or no text arrived."""
    token_counts: ModelTokenCounts = field(default_factory=ModelTokenCounts)
    """Tokens to account for. Zero for the cache and shared calls: theirs are accounted for already."""
