"""Tool calls of a model: functions that it asks the client to run, whole and in pieces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function."""

    id: str
    name: str
    arguments: str
    """As the model wrote them: usually, but not certainly, a JSON object."""

    def as_document(self) -> dict[str, Any]:
        """Return the call as in a message of the chat completions API."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True)
class ToolCallPiece:
    """A piece of a streamed tool call."""

    index: int
    """Position of the call in the answer."""
    arguments: str
    """The next characters of the arguments."""
    id: str | None = None
    """With the first piece of a call only."""
    name: str | None = None
    """With the first piece of a call only."""


PublishToolCalls = Callable[[Sequence[ToolCallPiece]], None]
"""Takes the next pieces of tool calls. It neither blocks nor raises."""
