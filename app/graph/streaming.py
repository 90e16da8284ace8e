"""The text of one attempt on its way to those who read along."""

import time

from app.graph.ports.text_sink import TextSink


class TrimmedTextStream:
    """Shows the pieces of an answer as they come, without the white space around the whole.

    What is shown cannot be taken back, so white space waits for the text that follows it: the pieces shown, joined,
    are the answer as `str.strip` makes it of the whole.
    """

    def __init__(self, sink: TextSink) -> None:
        """Show pieces to a sink that has been shown nothing yet."""
        self._sink = sink
        self._held = ""
        self.first_at: float | None = None
        """When the first text came, by `time.perf_counter`."""

    def publish(self, piece: str) -> None:
        """Take the next piece; see `Publish`."""
        if self.first_at is None:
            piece = piece.lstrip()
        shown = piece.rstrip()
        if not shown:
            self._held += piece
            return
        if self.first_at is None:
            self.first_at = time.perf_counter()
        self._sink.publish(self._held + shown)
        self._held = piece[len(shown) :]
