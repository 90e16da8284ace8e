"""Responses that follow an answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send

from app.chat.streaming import events
from app.chat.streaming.publisher import Transcript
from app.chat.streaming.revocation import RevocationWatch
from app.database.repositories.accounts.callers import Principal

PING_INTERVAL = 15.0
"""A stream that has been silent for so long says that it is alive."""
_TIMER_TOLERANCE = 0.01
"""The loop's clock is not exact: a timer may come as much too early."""


class EventStreamResponse(EventSourceResponse):
    """An event stream that cleans up as soon as its client is gone."""

    def __init__(self, frames: AsyncGenerator[bytes]) -> None:
        # Without the header a proxy that buffers would hold events back.
        super().__init__(frames, headers={"X-Accel-Buffering": "no"})
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the response."""
        self._send_event: Send = scope["state"]["send_past_middleware"]
        async with aclosing(self._frames):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send the head and the end as any response does, and the events past all middleware.

        It has nothing to add to them, and each would be called for every token.
        """
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for frame in self._frames:
            await self._send_event({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


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
