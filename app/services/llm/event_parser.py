"""Parser of event streams (WHATWG HTML, section 9.2.6), for bodies that arrive in pieces of any size."""

import json
from typing import Final

from pydantic_core import from_json

Event = tuple[bytes, bytes]
"""Type of an event (empty: none was sent), and its data."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAX_EVENT_BYTES: Final = 1_048_576


class EventParser:
    """Splits a body into events. Fields other than `event` and `data`, and comments, are ignored."""

    def __init__(self) -> None:
        self._head: bytes | None = b""
        """Bytes at the beginning that may be a part of a byte order mark. None: the beginning is over."""
        self._ends_with_cr = False
        # A buffer, so that a line that arrives byte by byte takes linear time.
        self._line = bytearray()
        self._type = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self.comments = 0
        """Number of comments so far, which engines send as signs of life."""
        self._is_between_events = False
        """Whether nothing of an event, and no possible part of a line end, has been received."""

    def feed(self, received: bytes) -> list[Event]:
        """Take the next bytes, and return the events that they complete.

        Raises:
            ValueError: a line or an event is longer than 1 MiB.

        """
        # Most pieces are one event with one line of data.
        if (
            self._is_between_events
            and received.startswith(b"data: ")
            and received.find(b"\n") == len(received) - 2
            and received.endswith(b"\n")
            and b"\r" not in received
        ):
            return [(b"", received[6:-2])]
        if self._head is not None:
            received = self._without_byte_order_mark(received)
        if self._ends_with_cr or b"\r" in received:
            received = self._with_line_feeds(received)
        events: list[Event] = []
        self._take_lines(received, events)
        if len(self._line) + self._data_bytes > _MAX_EVENT_BYTES:
            raise ValueError("the event is too long")
        self._is_between_events = self._head is None and not (
            self._line or self._data or self._type or self._ends_with_cr
        )
        return events

    def close(self) -> list[Event]:
        """Return the event that the end of the body completes, if any.

        By the standard it would be discarded; but some engines send no blank line after the last event.
        """
        if self._head:
            self._line += self._head
        events: list[Event] = []
        self._take_lines(b"\n\n", events)
        return events

    def _without_byte_order_mark(self, received: bytes) -> bytes:
        head = (self._head or b"") + received
        if len(head) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_BYTE_ORDER_MARK)

    def _with_line_feeds(self, received: bytes) -> bytes:
        """Return the bytes with each end of a line (CR LF, CR or LF) as LF. A CR LF may be split between two pieces."""
        if not received:
            return received
        if self._ends_with_cr:
            received = received.removeprefix(b"\n")
        self._ends_with_cr = received.endswith(b"\r")
        return received.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take_lines(self, received: bytes, events: list[Event]) -> None:
        first, *others = received.split(b"\n")
        self._line += first
        for next_line in others:
            self._take_line(bytes(self._line), events)
            self._line[:] = next_line

    def _take_line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            self._dispatch(events)
        elif line.startswith(b"data:") or line == b"data":
            # Some engines send no blank lines between events.
            if len(self._data) == 1 and _is_document(self._data[0]):
                self._dispatch(events)
            self._data.append(_value(line, 5))
            self._data_bytes += len(line)
        elif line.startswith(b":"):
            self.comments += 1
        elif line.startswith(b"event:"):
            self._type = _value(line, 6)
        elif line.startswith(b"error:") and _is_document(_value(line, 6)):
            # Not a field of the standard: llama.cpp reports errors so.
            self._dispatch(events)
            events.append((b"error", _value(line, 6)))

    def _dispatch(self, events: list[Event]) -> None:
        kind = self._take_type()
        if self._data:
            events.append((kind, b"\n".join(self._data)))
            self._data.clear()
            self._data_bytes = 0

    def _take_type(self) -> bytes:
        kind, self._type = self._type, b""
        return kind


def _value(line: bytes, start: int) -> bytes:
    """Return the value of a field after its colon. One space before it is not a part of it."""
    return line[start + 1 :] if line[start : start + 1] == b" " else line[start:]


def _is_document(data: bytes) -> bool:
    """Return whether the data is a whole JSON object, or the end marker."""
    if data.strip() == b"[DONE]":
        return True
    if not data.rstrip().endswith(b"}"):
        return False
    try:
        return isinstance(from_json(data), dict)
    except ValueError:
        pass
    try:
        return isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        return False
