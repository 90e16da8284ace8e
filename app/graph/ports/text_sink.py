"""Port to the readers of a streamed answer."""

from typing import Protocol


class TextSink(Protocol):
    """The port to those who read along."""

    @property
    def text(self) -> str:
        """What they have been shown so far. It can be added to, and not taken back."""
        ...

    def publish(self, piece: str) -> None:
        """Show the next piece. Neither blocks nor fails."""
        ...
