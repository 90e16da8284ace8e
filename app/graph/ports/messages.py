"""Types of messages and summaries that the ports of the graph exchange."""

from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict


class PromptMessage(TypedDict):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class ClientMessage(TypedDict):
    """One message of a conversation that the client sent, as the chat completions API of OpenAI defines it."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None
    """Text, or parts: `text` and `image_url`. None: the message has tool calls only."""
    name: NotRequired[str]
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[str]
    """With the role `tool`: the call that the message is the result of."""


ModelMessage = PromptMessage | ClientMessage
"""A message that a model is sent."""


class HistoryMessage(TypedDict):
    """An earlier message of a session."""

    depth: int
    """Its position in the branch, starting at 1."""
    role: Literal["user", "assistant"]
    content: str


class Summary(TypedDict):
    """Summary of the older messages of a session."""

    text: str
    upto_depth: int
    """Depth of the last message that it covers."""


@dataclass(frozen=True, slots=True)
class SessionHistory:
    """Messages of a session before a question, and the summary of older ones."""

    messages: list[HistoryMessage] = field(default_factory=list)
    """The newest messages, in chronological order."""
    summary: Summary | None = None
