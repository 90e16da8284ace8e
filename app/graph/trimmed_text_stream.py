"""Streaming of one attempt's text to a sink, without blank lines around it."""

import time
from collections.abc import Sequence

from app.graph.ports.text_sink import TextSink
from app.graph.ports.tool_calls import ToolCallPiece


def trim(text: str) -> str:
    """Return the text without blank lines before it and white space after it. Its first line stays indented."""
    text = text.rstrip()
    indentation = len(text) - len(text.lstrip())
    return text[max(text.rfind("\n", 0, indentation), text.rfind("\r", 0, indentation)) + 1 :]


class TrimmedTextStream:
    """Publishes the pieces of an answer as they arrive, so that together they equal `trim` of the whole.

    Published text cannot be retracted, so white space is held back until text follows it.
    """

    def __init__(self, sink: TextSink) -> None:
        """`sink`: has no text yet."""
        self._sink = sink
        self._held = ""
        self._has_text = False
        self.first_text_at: float | None = None
        """When the first text or tool call arrived, by `time.perf_counter`. None: not yet."""

    def publish(self, piece: str) -> None:
        """Publish the next piece; see `PublishText`."""
        text = piece.rstrip()
        if not text:
            self._held += piece
            return
        published = self._held + text
        self._held = piece[len(text) :]
        if not self._has_text:
            self._has_text = True
            self._record_start()
            published = trim(published)
        self._sink.publish(published)

    def publish_tool_calls(self, pieces: Sequence[ToolCallPiece]) -> None:
        """Publish the next pieces of tool calls; see `PublishToolCalls`."""
        self._record_start()
        self._sink.publish_tool_calls(pieces)

    def _record_start(self) -> None:
        if self.first_text_at is None:
            self.first_text_at = time.perf_counter()
