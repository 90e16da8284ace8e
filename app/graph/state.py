"""State of the graph. Every value is plain data that a trace may show."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from app.graph.ports.messages import ClientMessage, HistoryMessage, Summary

PipelineStatus = Literal["initialized", "preprocessed", "retry", "llm_completed", "completed", "error", "error_handled"]


class TokenUsage(TypedDict):
    """Token counts of all attempts: the provider's, or estimates if it reported none."""

    input: int
    output: int
    total: int


class HistoryUse(TypedDict):
    """Number of earlier messages that the prompt includes and leaves out."""

    sent: int
    left_out: int
    """Messages before the first one that was sent."""
    summarized: int
    """How many of those are covered by the summary in the prompt."""


class ChatState(TypedDict):
    """State of one turn. The caller sets the first group; each node sets its own."""

    # Input
    user_message: str
    user_id: int
    session_id: NotRequired[str | None]
    """Public id of the session; None for a direct question."""
    question_depth: NotRequired[int]
    """Position of the question in its session; the history ends before it."""
    client_messages: NotRequired[list[ClientMessage]]
    """The whole conversation, the question included, if the client sent it. No history is loaded then."""
    context: NotRequired[dict[str, Any]]
    """Context from the client. The instructions use parts of it; the metadata returns it, without `system_prompt`."""
    status: PipelineStatus

    # preprocess
    processed_message: NotRequired[str]
    conversation_history: NotRequired[list[HistoryMessage]]
    """The newest messages before the question. How many of them are sent depends on the model's context window."""
    summary: NotRequired[Summary | None]
    """Summary of the older messages."""
    system_prompt: NotRequired[str]

    # llm
    model_index: NotRequired[int]
    """Index in the policy of the model for the next attempt."""
    model_attempts: NotRequired[int]
    """Attempts of that model so far."""
    retry_count: NotRequired[int]
    """Attempts after the first, of all models together."""
    max_retries: NotRequired[int]
    retry_delay: NotRequired[float]
    """Seconds to wait before the next attempt."""
    last_failure: NotRequired[str]
    """Error code of the last failed attempt."""
    fallback_reason: NotRequired[str | None]
    """Why the primary model is no longer used. None: it is used."""
    history_use: NotRequired[HistoryUse]
    """Of the last attempt."""
    llm_response: NotRequired[str]
    reasoning: NotRequired[str]
    """What the model thought before the answer."""
    tool_calls: NotRequired[list[dict[str, Any]]]
    """Tools that the model asks the client to run, as in a message of the chat completions API."""
    logprobs: NotRequired[list[Any]]
    """Log probabilities of the tokens, if the client asked for them."""
    finish_reason: NotRequired[str]
    tokens_used: NotRequired[TokenUsage]
    model_used: NotRequired[str]
    is_cached: NotRequired[bool]
    """Whether the answer came from the cache, or from a shared call that another request accounts for."""
    processing_time_ms: NotRequired[int]
    """Time spent on attempts, waits included."""

    # postprocess, error_handler
    final_response: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]
    error: NotRequired[str | None]
    """Error code, never an exception's text."""
    timestamp: NotRequired[str]
