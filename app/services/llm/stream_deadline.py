"""Deadline of a streamed attempt, extended by what arrives."""

import asyncio
import math
from typing import Final

from app.graph.ports.chat_model import StreamTimeouts

_RESCHEDULE_THRESHOLD: Final = 0.05
"""Fraction of the idle timeout by which it may expire early.

Rescheduling for each text would take more time than the text.
"""
_TRAILER_TIMEOUT: Final = 0.2
"""Timeout in seconds of the rest of a body after the end of the stream."""


class StreamDeadline:
    """Reschedules the timeout of an attempt: see `StreamTimeouts`."""

    def __init__(self, limit: asyncio.Timeout, timeouts: StreamTimeouts) -> None:
        """`limit`: runs since the attempt began."""
        self._limit = limit
        self._timeouts = timeouts
        self._now = asyncio.get_running_loop().time
        self._end = self._now() + timeouts.total
        self._end_of_reasoning = self._now() + max(timeouts.reasoning, timeouts.first_token)
        self._rescheduled_at = -math.inf
        self._signs_of_life = 0
        self._has_text = False
        self._is_ending = False

    def text_received(self) -> None:
        """Extend the deadline by the idle timeout. The first text after reasoning begins the time of the text."""
        now = self._now()
        if not self._has_text:
            self._has_text = True
            if self._signs_of_life:
                self._end = now + self._timeouts.total
        elif now - self._rescheduled_at <= self._timeouts.idle * _RESCHEDULE_THRESHOLD:
            return
        self._reschedule(now, self._end)

    def data_received(self, signs_of_life: int, *, is_over: bool) -> None:
        """Take the number of comments and pieces of reasoning so far, and whether the stream is over.

        Before the text they extend the deadline up to the limit of reasoning, and later up to that of the text.
        """
        if is_over:
            if not self._is_ending:
                # The rest of the body is read, so that the connection can be reused.
                self._is_ending = True
                self._limit.reschedule(self._now() + _TRAILER_TIMEOUT)
        elif signs_of_life > self._signs_of_life:
            self._signs_of_life = signs_of_life
            self._reschedule(self._now(), self._end if self._has_text else self._end_of_reasoning)

    def _reschedule(self, now: float, end: float) -> None:
        self._rescheduled_at = now
        current = self._limit.when()
        extended = min(end, now + self._timeouts.idle)
        # A sign of life does not shorten the time until the first text.
        self._limit.reschedule(extended if self._has_text or current is None else max(extended, min(current, end)))
