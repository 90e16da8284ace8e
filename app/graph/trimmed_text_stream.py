"""Streaming of one attempt's text to a sink, without leading and trailing white space."""

import time

from app.graph.ports.text_sink import TextSink


class TrimmedTextStream:
    """Publishes the pieces of an answer as they arrive, so that together they equal `str.strip` of the whole.

    Published text cannot be retracted, so white space is held back until text follows it.
    """

    def __init__(self, sink: TextSink) -> None:
        """`sink`: has no text yet."""
        self._sink = sink
        self._held = ""
        self.first_text_at: float | None = None
        """When the first text arrived, by `time.perf_counter`. None: not yet."""

    def publish(self, piece: str) -> None:
        """Publish the next piece; see `PublishText`."""
        if self.first_text_at is None:
            piece = piece.lstrip()
        text = piece.rstrip()
        if not text:
            self._held += piece
            return
        if self.first_text_at is None:
            self.first_text_at = time.perf_counter()
        self._sink.publish(self._held + text)
        self._held = piece[len(text) :]
