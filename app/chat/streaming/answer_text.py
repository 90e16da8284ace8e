"""Text of an answer as its subscribers see it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.chat.schemas.messages import MessageResponse

if TYPE_CHECKING:
    from app.graph.ports.tool_calls import ToolCallPiece


@dataclass(frozen=True, slots=True)
class Ending:
    """Final message of an answer."""

    message: MessageResponse
    code: str | None = None
    """Error code, if the answer failed."""
    title: str | None = None
    """Title of the session when the answer was stored. None: not known."""


class AnswerText:
    """The visible text of one answer. It only grows.

    Subscribers read at their own pace: a slow one finds more text the next time it reads.
    """

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        """What the model thought before the answer, as far as this process has received it."""
        self.tool_calls: list[ToolCallPiece] = []
        """Pieces of tool calls so far, likewise."""
        self.visible_length = 0
        """Number of characters of the text that subscribers may see."""
        self.ending: Ending | None = None
        self.is_closed = False
        """Whether subscribers get neither more text nor an ending: the answer was deleted, or the process stops."""
        self._subscribers: set[Callable[[], None]] = set()

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever the visible state changes."""
        self._subscribers.add(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Unregister a callback."""
        self._subscribers.discard(wake)

    def show(self, length: int, ending: Ending | None = None) -> None:
        """Make the first `length` characters visible, and the ending if there is one."""
        self.visible_length = length
        self.ending = ending
        self._wake_subscribers()

    def add_reasoning(self, text: str) -> None:
        """Append to the reasoning, and show it."""
        self.reasoning += text
        self._wake_subscribers()

    def close(self) -> None:
        """Release the subscribers without an ending."""
        self.is_closed = True
        self._wake_subscribers()

    def _wake_subscribers(self) -> None:
        for wake in self._subscribers:
            wake()
