"""Text of an answer as its subscribers see it."""

from collections.abc import Callable
from dataclasses import dataclass

from app.chat.schemas.messages import MessageResponse


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended."""

    message: MessageResponse
    code: str | None = None
    """Why it failed."""


class Transcript:
    """The text of one answer as far as subscribers may see it. It only grows.

    Followers come and go, and read at their own pace: a slow one finds more text when it looks again.
    """

    def __init__(self) -> None:
        self.text = ""
        self.shown = 0
        """Characters of the text that subscribers may see."""
        self.ending: Ending | None = None
        self.is_gone = False
        """Whether the answer was deleted: there is neither more text nor an ending."""
        self._subscribers: set[Callable[[], None]] = set()

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Have a function called whenever there is something new to see."""
        self._subscribers.add(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Not any more."""
        self._subscribers.discard(wake)

    def show(self, length: int, ending: Ending | None = None) -> None:
        """Let subscribers see the first `length` characters, and how it ended, if it did."""
        self.shown = length
        self.ending = ending
        self.wake_all()

    def give_up(self) -> None:
        """Let go of the subscribers: there is nothing to wait for."""
        self.is_gone = True
        self.wake_all()

    def wake_all(self) -> None:
        """Call every follower."""
        for wake in self._subscribers:
            wake()
