"""Publisher that writes the reasoning of this process's answers to Redis, for clients of other processes."""

import asyncio
import logging
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from app.services.redis.reasoning_buffer import ReasoningBuffer, ReasoningPiece

if TYPE_CHECKING:
    from app.chat.streaming.publisher import AnswerStream

logger = logging.getLogger(__name__)

WRITE_INTERVAL = 0.25
"""Seconds between two writes."""


class ReasoningPublisher:
    """Writes the new reasoning of all answers in one round trip. Readers of this process do not wait for it."""

    def __init__(self, buffer: ReasoningBuffer) -> None:
        self._buffer = buffer
        self._pending: set[AnswerStream] = set()
        self._has_pending = asyncio.Event()
        self._written: WeakKeyDictionary[AnswerStream, tuple[int, int]] = WeakKeyDictionary()
        """Characters and bytes written so far."""

    def put(self, answer: "AnswerStream") -> None:
        """Queue new reasoning of an answer."""
        self._pending.add(answer)
        self._has_pending.set()

    async def run(self) -> None:
        """Write queued reasoning until cancelled."""
        while True:
            await self._has_pending.wait()
            self._has_pending.clear()
            answers, self._pending = list(self._pending), set()
            try:
                await self._write(answers)
            except Exception:
                logger.exception("reasoning buffer write failed")
            await asyncio.sleep(WRITE_INTERVAL)

    async def _write(self, answers: "list[AnswerStream]") -> None:
        pieces: dict[ReasoningPiece, AnswerStream] = {}
        for answer in answers:
            characters, size = self._written.get(answer, (0, 0))
            if text := answer.reasoning[characters:]:
                pieces[ReasoningPiece(answer.id, size, text)] = answer
                self._written[answer] = (characters + len(text), size + len(text.encode()))
        if pieces:
            for piece in await self._buffer.write(list(pieces)):
                # The next write includes all of it.
                self._written.pop(pieces[piece], None)
