"""Port to the readers of a streamed answer."""

from typing import Protocol


class TextSink(Protocol):
    """Receiver of the text of a streamed answer."""

    @property
    def text(self) -> str:
        """Text published so far. Published text cannot be retracted."""
        ...

    def publish(self, piece: str) -> None:
        """Publish the next piece. Neither blocks nor raises."""
        ...

    def publish_reasoning(self, piece: str) -> None:
        """Publish the next piece of what the model thinks before the answer, which may be empty.

        Neither blocks nor raises.
        """
        ...
