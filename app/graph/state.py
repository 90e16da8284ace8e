"""The state that the nodes hand on. Every value in it is plain data that a trace may show."""

from typing import Any, Literal, NotRequired, TypedDict

from app.graph.ports.messages import HistoryMessage, Summary

Status = Literal["initialized", "preprocessed", "retry", "llm_completed", "completed", "error", "error_handled"]


class TokenUsage(TypedDict):
    """Tokens of all attempts: counted by the provider, or estimated where it did not count them."""

    input: int
    output: int
    total: int


class HistoryUse(TypedDict):
    """What became of the messages before the question."""

    sent: int
    left_out: int
    """Those before the first that was sent."""
    summarized: int
    """How many of those the summary that went along is of."""


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
    """What the client attached. Some of it the instructions go by; it comes back in the metadata."""
    status: Status

    # preprocess
    processed_message: NotRequired[str]
    conversation_history: NotRequired[list[HistoryMessage]]
    """The newest messages, as many as may go along; how many of them do depends on the model."""
    summary: NotRequired[Summary | None]
    """What is known of the older ones."""
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
    fallback_reason: NotRequired[str | None]
    """Code of the failure for which the first model was left. None: it was not."""
    history_use: NotRequired[HistoryUse]
    """Of the last attempt."""
    llm_response: NotRequired[str]
    finish_reason: NotRequired[str]
    tokens_used: NotRequired[TokenUsage]
    model_used: NotRequired[str]
    is_cached: NotRequired[bool]
    """Whether the answer was known, and no model was asked."""
    processing_time_ms: NotRequired[int]
    """Time token_counts on attempts and between them."""

    # postprocess, error_handler
    final_response: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]
    error: NotRequired[str | None]
    """Code of what went wrong, never an exception's text."""
    timestamp: NotRequired[str]
