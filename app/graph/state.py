"""The state that the nodes hand on. Every value in it is plain data that a trace may show."""

from typing import Any, Literal, NotRequired, TypedDict

from app.graph.context import PromptMessage

Status = Literal["initialized", "preprocessed", "retry", "llm_completed", "completed", "error", "error_handled"]


class TokenUsage(TypedDict):
    """Tokens as the provider counted them."""

    input: int
    output: int
    total: int


class ChatState(TypedDict):
    """State of one turn. The runner sets the first group; each node adds its own."""

    # Input
    user_message: str
    user_id: int
    session_id: NotRequired[str | None]
    """Public id of the session; none for a direct question."""
    question_seq: NotRequired[int]
    """Position of the question in its session: the history ends before it."""
    context: NotRequired[dict[str, Any]]
    """What the client attached: `tone` chooses how the model answers, the rest comes back in the metadata."""
    status: Status

    # preprocess
    processed_message: NotRequired[str]
    conversation_history: NotRequired[list[PromptMessage]]
    system_prompt: NotRequired[str]

    # llm
    model_index: NotRequired[int]
    """Which of the policy's models is asked next."""
    model_attempts: NotRequired[int]
    """Attempts made at that model."""
    retry_count: NotRequired[int]
    """Attempts after the first, at all models together."""
    max_retries: NotRequired[int]
    retry_delay: NotRequired[float]
    """Seconds to wait before the next attempt."""
    last_failure: NotRequired[str]
    """Code of the attempt that failed last."""
    fallback_reason: NotRequired[str]
    """Code of the failure for which the first model was left."""
    llm_response: NotRequired[str]
    finish_reason: NotRequired[str]
    tokens_used: NotRequired[TokenUsage]
    model_used: NotRequired[str]
    is_cached: NotRequired[bool]
    """Whether the answer was known, and no model was asked."""
    processing_time_ms: NotRequired[int]
    """Time spent on attempts and between them."""

    # postprocess, error_handler
    final_response: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]
    error: NotRequired[str | None]
    """Code of what went wrong, never an exception's text."""
    timestamp: NotRequired[str]
