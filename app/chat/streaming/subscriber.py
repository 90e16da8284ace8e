"""One client's subscription to an answer."""

import asyncio
from collections.abc import AsyncGenerator

from app.chat.streaming import events
from app.chat.streaming.revocation import RevocationWatch
from app.chat.streaming.transcript import Transcript
from app.database.repositories.accounts.callers import Principal

PING_INTERVAL = 15.0
"""A stream that has been silent for so long says that it is alive."""


_TIMER_TOLERANCE = 0.01
"""The loop's clock is not exact: a timer may come as much too early."""


class StreamSubscriber:
    """One client's reading of a transcript, for as long as the client's login, or API key, is good."""

    def __init__(self, transcript: Transcript, position: int, watch: RevocationWatch, user: Principal) -> None:
        """Begin after `position`."""
        self._transcript = transcript
        self._position = position
        self._watch = watch
        self._credential = user.credential
        self._loop = asyncio.get_running_loop()
        self._is_cut = False
        self._waiter: asyncio.Future[None] | None = None
        self._spoke_at = self._loop.time()
        self._has_to_ping = False
        self._timer: asyncio.TimerHandle | None = None

    async def frames(self, first: bytes = b"") -> AsyncGenerator[bytes]:
        """Yield the events after the position, the terminal one included, with pings in between.

        `first` goes before them all.
        """
        transcript = self._transcript
        transcript.subscribe(self._wake)
        self._watch.add(self._credential, self._cut)
        self._timer = self._loop.call_later(PING_INTERVAL, self._look_at_the_clock)
        try:
            if first:
                yield first
            while not (self._is_cut or transcript.is_gone):
                if self._position < transcript.shown:
                    text = transcript.text[self._position : transcript.shown]
                    self._position = transcript.shown
                    yield self._speaking(events.delta(text, self._position))
                elif transcript.ending is not None:
                    yield events.ending(transcript.ending, self._position)
                    return
                elif self._has_to_ping:
                    yield self._speaking(events.PING)
                else:
                    self._waiter = self._loop.create_future()
                    await self._waiter
        finally:
            self._timer.cancel()
            self._watch.remove(self._credential, self._cut)
            transcript.unsubscribe(self._wake)

    def _cut(self) -> None:
        """End the stream, here and now, without a terminal event."""
        self._is_cut = True
        self._wake()

    def _speaking(self, frame: bytes) -> bytes:
        self._spoke_at = self._loop.time()
        self._has_to_ping = False
        return frame

    def _look_at_the_clock(self) -> None:
        # One timer for the whole stream, and not one for each event.
        remaining = self._spoke_at + PING_INTERVAL - self._loop.time()
        if remaining < _TIMER_TOLERANCE:
            self._has_to_ping = True
            self._wake()
            remaining = PING_INTERVAL
        self._timer = self._loop.call_later(remaining, self._look_at_the_clock)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
