"""Answers in progress, and the publisher that writes their text to Redis and to local subscribers."""

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from app.chat.streaming.transcript import Ending, Transcript
from app.services.redis.keys import stream_key
from app.services.redis.stream_buffer import StreamBuffer, StreamSnapshot

logger = logging.getLogger(__name__)


BATCH_INTERVAL = 0.02
"""Text that comes so soon after other text travels together."""


WRITE_INTERVAL = 0.03
"""Seconds from one write to the buffer to the next, when no answer begins: with many turns, each write is of many."""


class AnswerStream(Transcript):
    """An answer that this process makes. It is the run's `TextSink`."""

    def __init__(self, turn_id: UUID, publisher: "StreamPublisher | None" = None) -> None:
        """Create it without text. `publisher` writes the text to Redis; None: only local subscribers see it."""
        super().__init__()
        self.id = turn_id
        self.key = stream_key(turn_id)
        self.stop_requested = False
        self.run: asyncio.Task[Any] | None = None
        """The graph's part of the turn, which may be cut short."""
        self.final_ending: Ending | None = None
        self.is_deleted = False
        self._publisher = publisher
        self._loop = asyncio.get_running_loop()
        self._sent_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def publish(self, piece: str) -> None:
        """Add to the text; see `TextSink`. The first piece is never held back."""
        self.text += piece
        if self._timer is not None:
            return
        if self._sent_at is None or self._loop.time() >= (due := self._sent_at + BATCH_INTERVAL):
            self._send()
        else:
            self._timer = self._loop.call_at(due, self._send)

    def end(self, ending: Ending, *, is_deleted: bool = False) -> None:
        """Say how it ended, after everything that has been published.

        `is_deleted`: its owner has deleted it meanwhile.
        """
        self.final_ending = ending
        self.is_deleted = is_deleted
        self._send()

    def stop(self) -> None:
        """Cut the run short, at its owner's wish. What it has published is the answer."""
        self.stop_requested = True
        self.interrupt()

    def interrupt(self) -> None:
        """Cut the run short."""
        if self.run is not None:
            self.run.cancel()

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        is_first = self._sent_at is None
        self._sent_at = self._loop.time()
        if self._publisher is None:
            self.show(len(self.text), self.final_ending)
        else:
            self._publisher.put(self, is_urgent=is_first)


class StreamPublisher:
    """Takes what turns say to the buffer in Redis, and then to those who follow here.

    In this order, so that whatever anybody has seen can still be read when this process is killed. What several turns
    say at the same time is one round trip.
    """

    def __init__(self, buffer: StreamBuffer) -> None:
        self._buffer = buffer
        self._waiting: set[AnswerStream] = set()
        self._is_needed = asyncio.Event()
        self._is_urgent = asyncio.Event()

    def put(self, turn: AnswerStream, *, is_urgent: bool = False) -> None:
        """Take what is new in a turn. What is urgent does not wait until the next write is due."""
        self._waiting.add(turn)
        self._is_needed.set()
        if is_urgent:
            self._is_urgent.set()

    async def run(self) -> None:
        """Work for ever."""
        now = asyncio.get_running_loop().time
        next_at = now()
        while True:
            await self._is_needed.wait()
            if next_at > now():
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(next_at):
                        await self._is_urgent.wait()
            next_at = now() + WRITE_INTERVAL
            self._is_needed.clear()
            self._is_urgent.clear()
            turns, self._waiting = self._waiting, set()
            # As they are now: they grow while Redis is written to.
            drafts = [
                (turn, StreamSnapshot(turn.key, turn.text, turn.final_ending is not None, turn.is_deleted))
                for turn in turns
            ]
            try:
                await self._buffer.write([draft for _, draft in drafts])
            except Exception:
                logger.exception("turn buffer failed")
            for turn, draft in drafts:
                turn.show(len(draft.text), turn.final_ending if draft.is_over else None)


if TYPE_CHECKING:
    from app.graph.ports.text_sink import TextSink

    def _is_a_sink(turn: AnswerStream) -> TextSink:
        return turn
