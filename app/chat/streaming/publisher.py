"""Answers in progress, and the publisher that writes their text to Redis and shows it to local subscribers."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from app.chat.streaming.answer_text import AnswerText, Ending
from app.chat.streaming.reasoning_publisher import ReasoningPublisher
from app.graph.ports.tool_calls import ToolCallPiece
from app.services.redis.keys import stream_key
from app.services.redis.stream_buffer import StreamBuffer, StreamSnapshot

logger = logging.getLogger(__name__)

BATCH_INTERVAL = 0.02
"""Seconds during which text of one answer is collected into one event."""
WRITE_INTERVAL = 0.03
"""Seconds between two writes to Redis, unless an answer begins: with many turns, each write covers many of them."""


class AnswerStream(AnswerText):
    """Text of an answer that this process generates. It is the `TextSink` of the graph's run."""

    def __init__(self, turn_id: UUID, publisher: "StreamPublisher | None" = None) -> None:
        """Create it without text. Without a publisher, only local subscribers see the text."""
        super().__init__()
        self.id = turn_id
        self.key = stream_key(turn_id)
        self.is_cancel_requested = False
        self.run: asyncio.Task[Any] | None = None
        """The run of the graph, which may be cancelled."""
        self.final_ending: Ending | None = None
        self.is_deleted = False
        self._publisher = publisher
        self._loop = asyncio.get_running_loop()
        self._sent_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._show_timer: asyncio.TimerHandle | None = None

    def publish(self, piece: str) -> None:
        """Append to the text; see `TextSink`. The first piece is sent without delay."""
        self.text += piece
        if self._timer is not None:
            return
        if self._sent_at is None or self._loop.time() >= (due := self._sent_at + BATCH_INTERVAL):
            self._send()
        else:
            self._timer = self._loop.call_at(due, self._send)

    def publish_reasoning(self, piece: str) -> None:
        """Append to the reasoning; see `TextSink`."""
        self.reasoning += piece
        if piece:
            self._show_soon()

    @property
    def has_tool_calls(self) -> bool:
        """See `TextSink`."""
        return bool(self.tool_calls)

    def publish_tool_calls(self, pieces: Sequence[ToolCallPiece]) -> None:
        """Append to the tool calls; see `TextSink`. Only subscribers in this process see them."""
        self.tool_calls += pieces
        self._show_soon()

    def end(self, ending: Ending, *, is_deleted: bool = False) -> None:
        """Send the ending after all published text. `is_deleted`: the user has deleted the answer."""
        self.final_ending = ending
        self.is_deleted = is_deleted
        self._send()

    def cancel(self) -> None:
        """Cancel the run at the user's request. The published text is the answer."""
        self.is_cancel_requested = True
        self.interrupt()

    def interrupt(self) -> None:
        """Cancel the run."""
        if self.run is not None:
            self.run.cancel()

    def _show_soon(self) -> None:
        if self._show_timer is None:
            self._show_timer = self._loop.call_later(BATCH_INTERVAL, self._show)

    def _show(self) -> None:
        self._show_timer = None
        self._wake_subscribers()
        if self._publisher is not None and self._publisher.reasoning is not None:
            self._publisher.reasoning.put(self)

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
    """Writes the text of answers to the stream buffer in Redis, then shows it to local subscribers.

    In this order, so that any text a client has seen can still be read after this process was killed. Text of several
    turns is written in one round trip.
    """

    def __init__(self, buffer: StreamBuffer, reasoning: ReasoningPublisher | None = None) -> None:
        """`reasoning`: publishes the reasoning to other processes; None: only subscribers in this process see it."""
        self._buffer = buffer
        self.reasoning = reasoning
        self._pending: set[AnswerStream] = set()
        self._has_pending = asyncio.Event()
        self._is_urgent = asyncio.Event()

    def put(self, answer: AnswerStream, *, is_urgent: bool = False) -> None:
        """Queue new text of an answer. Urgent text does not wait for the next write interval."""
        self._pending.add(answer)
        self._has_pending.set()
        if is_urgent:
            self._is_urgent.set()

    async def run(self) -> None:
        """Write queued text until cancelled."""
        now = asyncio.get_running_loop().time
        next_write_at = now()
        while True:
            await self._has_pending.wait()
            if next_write_at > now():
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(next_write_at):
                        await self._is_urgent.wait()
            next_write_at = now() + WRITE_INTERVAL
            self._has_pending.clear()
            self._is_urgent.clear()
            answers, self._pending = self._pending, set()
            # Snapshots, because the texts grow during the write.
            snapshots = [
                (answer, StreamSnapshot(answer.key, answer.text, answer.final_ending is not None, answer.is_deleted))
                for answer in answers
            ]
            try:
                await self._buffer.write([snapshot for _, snapshot in snapshots])
            except Exception:
                logger.exception("stream buffer write failed")
            for answer, snapshot in snapshots:
                try:
                    answer.show(len(snapshot.text), answer.final_ending if snapshot.is_over else None)
                except Exception:
                    logger.exception("stream update failed")


if TYPE_CHECKING:
    from app.graph.ports.text_sink import TextSink

    def _is_text_sink(answer: AnswerStream) -> TextSink:
        return answer
