"""One client's subscription to an answer."""

import asyncio
from collections.abc import AsyncGenerator

from app.chat.streaming import events
from app.chat.streaming.answer_text import AnswerText
from app.chat.streaming.encoders import EventEncoder
from app.chat.streaming.revocation import RevocationWatch
from app.database.repositories.accounts.callers import Principal

PING_INTERVAL = 15.0
"""Seconds without an event after which a ping is sent."""
_TIMER_TOLERANCE = 0.01
"""Seconds by which a timer of the event loop may fire early."""


class StreamSubscriber:
    """Yields the events of an answer while the client's login or API key is valid."""

    def __init__(
        self,
        answer_text: AnswerText,
        position: int,
        revocations: RevocationWatch,
        user: Principal,
        encoder: EventEncoder,
    ) -> None:
        """Start after `position`."""
        self._encoder = encoder
        self._reasoning_position = 0
        self._tool_calls_position = 0
        self._answer_text = answer_text
        self._position = position
        self._revocations = revocations
        self._credential = user.credential
        self._loop = asyncio.get_running_loop()
        self._is_revoked = False
        self._waiter: asyncio.Future[None] | None = None
        self._sent_at = self._loop.time()
        self._is_ping_due = False
        self._timer: asyncio.TimerHandle | None = None

    async def frames(self, first: bytes = b"") -> AsyncGenerator[bytes]:
        """Yield `first`, then the events after the position up to the terminal event, and pings in between."""
        answer_text, encoder = self._answer_text, self._encoder
        answer_text.subscribe(self._wake)
        self._revocations.add(self._credential, self._revoke)
        self._timer = self._loop.call_later(PING_INTERVAL, self._check_ping)
        try:
            if first:
                yield first
            while not (self._is_revoked or answer_text.is_closed):
                if encoder.with_reasoning and self._reasoning_position < len(answer_text.reasoning):
                    reasoning = answer_text.reasoning[self._reasoning_position :]
                    self._reasoning_position += len(reasoning)
                    yield self._sent(encoder.reasoning(reasoning, self._position))
                elif self._position < answer_text.visible_length:
                    text = answer_text.text[self._position : answer_text.visible_length]
                    self._position = answer_text.visible_length
                    yield self._sent(encoder.delta(text, self._position))
                elif encoder.with_tool_calls and self._tool_calls_position < len(answer_text.tool_calls):
                    pieces = answer_text.tool_calls[self._tool_calls_position :]
                    self._tool_calls_position += len(pieces)
                    yield self._sent(encoder.tool_calls(pieces, self._position))
                elif answer_text.ending is not None:
                    yield encoder.ending(answer_text.ending, self._position)
                    return
                elif self._is_ping_due:
                    yield self._sent(events.PING)
                else:
                    self._waiter = self._loop.create_future()
                    await self._waiter
            if cut := encoder.cut():
                yield cut
        finally:
            self._timer.cancel()
            self._revocations.remove(self._credential, self._revoke)
            answer_text.unsubscribe(self._wake)

    def _revoke(self) -> None:
        """End the stream immediately, without a terminal event."""
        self._is_revoked = True
        self._wake()

    def _sent(self, frame: bytes) -> bytes:
        self._sent_at = self._loop.time()
        self._is_ping_due = False
        return frame

    def _check_ping(self) -> None:
        # One timer per stream, not one per event.
        remaining = self._sent_at + PING_INTERVAL - self._loop.time()
        if remaining < _TIMER_TOLERANCE:
            self._is_ping_due = True
            self._wake()
            remaining = PING_INTERVAL
        self._timer = self._loop.call_later(remaining, self._check_ping)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
