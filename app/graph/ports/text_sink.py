"""Port to the readers of a streamed answer."""

from collections.abc import Sequence
from typing import Protocol

from app.graph.ports.tool_calls import ToolCallPiece


class TextSink(Protocol):
    """Receiver of the text of a streamed answer."""

    @property
    def text(self) -> str:
        """Text published so far. Published text cannot be retracted."""
        ...

    @property
    def has_tool_calls(self) -> bool:
        """Whether a piece of a tool call has been published, which cannot be retracted either."""
        ...

    def publish(self, piece: str) -> None:
        """Publish the next piece. Neither blocks nor raises."""
        ...

    def publish_reasoning(self, piece: str) -> None:
        """Publish the next piece of what the model thinks before the answer, which may be empty.

        Neither blocks nor raises.
        """
        ...

    def publish_tool_calls(self, pieces: Sequence[ToolCallPiece]) -> None:
        """Publish the next pieces of tool calls. Neither blocks nor raises."""
        ...
