"""Maximum duration of a turn, on which leases and lifetimes of copies depend."""

from datetime import timedelta
from typing import Final

TURN_DURATION_LIMIT: Final = timedelta(hours=3)
"""Longer than any turn with any permitted settings, its storing and its copies in Redis."""


def max_streamed_seconds(*, turn_timeout: float, reasoning_timeout: float, stream_timeout: float) -> float:
    """Return the maximum seconds from the beginning of a streamed turn to the end of its answer.

    The timeout of the last attempt ends before the deadline of the turn. Reasoning extends the time until its text to
    `reasoning_timeout`, if that is longer. From then on, the text takes at most the timeout of the attempt and
    `stream_timeout`.
    """
    return turn_timeout + max(reasoning_timeout, turn_timeout) + stream_timeout
