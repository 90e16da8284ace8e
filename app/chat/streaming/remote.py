"""Transcripts of answers that another process generates, or that have ended."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from app.chat.streaming.answer_text import AnswerText, Ending
from app.chat.turns.presenters import message_response, stream_ending
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import sessions
from app.database.repositories.chat.sessions import StoredTurn
from app.services.redis.reasoning_buffer import ReasoningBuffer
from app.services.redis.stream_buffer import StreamBuffer

logger = logging.getLogger(__name__)

_POLL_INTERVAL = 1.0
"""Seconds between two reads of PostgreSQL."""
_REASONING_INTERVAL = 0.25
"""Seconds between two reads of Redis while the model is thinking."""
_FINAL_TEXT_TIMEOUT = 1.0
"""Maximum seconds to wait for the last text of a stored answer: PostgreSQL has the answer before Redis has its end."""
_MAX_ORPHANED_POLLS = 10
"""Reads that may find an answer orphaned before its stream ends as interrupted without waiting for recovery."""


@dataclass(frozen=True, slots=True)
class MessageRef:
    """Ids of an answer, its session and its owner."""

    user_id: int
    session_uuid: UUID
    answer_uuid: UUID


@dataclass(slots=True)
class _RemoteStream:
    answer_text: AnswerText
    task: asyncio.Task[None]
    subscribers: int = 0


@dataclass(slots=True)
class RemoteStreams:
    """Keeps one text per answer, however many clients of this process follow it."""

    database: Database
    buffer: StreamBuffer
    reasoning: ReasoningBuffer
    _streams: dict[MessageRef, _RemoteStream] = field(default_factory=dict)

    async def find(self, ref: MessageRef) -> StoredTurn | None:
        """Return the stored turn of an answer. None: the user has no such answer."""
        async with self.database.read_only(max_seconds=REQUEST_TIMEOUT) as session:
            return await sessions.find_turn(
                session,
                user_id=ref.user_id,
                session_uuid=ref.session_uuid,
                answer_uuid=ref.answer_uuid,
            )

    @asynccontextmanager
    async def answer_text(self, ref: MessageRef) -> AsyncIterator[AnswerText]:
        """Provide the text of the answer, which is updated while the block runs."""
        stream = self._streams.get(ref)
        if stream is None:
            answer_text = AnswerText()
            stream = _RemoteStream(answer_text, asyncio.create_task(self._feed(ref, answer_text)))
            self._streams[ref] = stream
        stream.subscribers += 1
        try:
            yield stream.answer_text
        finally:
            stream.subscribers -= 1
            if not stream.subscribers:
                del self._streams[ref]
                stream.task.cancel()

    def close_all(self) -> None:
        """Release all subscribers, so that they resume at another process. Called when this process stops."""
        for stream in self._streams.values():
            stream.answer_text.close()

    async def _feed(self, ref: MessageRef, answer_text: AnswerText) -> None:
        try:
            await self._copy(ref, answer_text)
        except Exception:
            logger.exception("remote stream failed")
            answer_text.close()

    async def _copy(self, ref: MessageRef, answer_text: AnswerText) -> None:
        loop = asyncio.get_running_loop()
        poll_at = loop.time()
        orphaned_polls = 0
        # The first read returns immediately what is buffered; later ones wait for more.
        wait = 0.0
        reasoning_bytes: int | None = 0
        while answer_text.ending is None and not answer_text.is_closed:
            buffered = await self.buffer.read(ref.answer_uuid, after=answer_text.visible_length, wait=wait)
            if reasoning_bytes is not None:
                # Before the text, which follows it.
                reasoning = await self.reasoning.read(ref.answer_uuid, start=reasoning_bytes)
                reasoning_bytes += len(reasoning)
                if reasoning:
                    answer_text.add_reasoning(reasoning.decode())
            if buffered.text:
                answer_text.text += buffered.text
                answer_text.show(len(answer_text.text))
            if buffered.is_over or loop.time() >= poll_at:
                orphaned_polls = await self._poll(ref, answer_text, orphaned_polls)
                poll_at = loop.time() + _POLL_INTERVAL
            if buffered.has_gap or buffered.is_over:
                await asyncio.sleep(_POLL_INTERVAL)
            if answer_text.text:
                reasoning_bytes = None
            wait = _REASONING_INTERVAL if reasoning_bytes else _POLL_INTERVAL

    async def _poll(self, ref: MessageRef, answer_text: AnswerText, orphaned_polls: int) -> int:
        """Read the answer from PostgreSQL. Return the number of reads in a row that found it orphaned."""
        try:
            stored = await self.find(ref)
        except DatabaseUnavailableError:
            return orphaned_polls
        if stored is None:
            answer_text.close()
            return 0
        answer = stored.answer
        if answer.message.status not in {"pending", "streaming"}:
            await self._read_final_text(ref, answer_text)
            answer_text.show(len(answer_text.text), stream_ending(message_response(answer), title=stored.title))
        elif not answer.is_orphaned:
            return 0
        elif orphaned_polls >= _MAX_ORPHANED_POLLS:
            message = message_response(answer).model_copy(update={"content": answer_text.text})
            answer_text.show(len(answer_text.text), Ending(message, code="interrupted"))
        return orphaned_polls + 1

    async def _read_final_text(self, ref: MessageRef, answer_text: AnswerText) -> None:
        """Append the rest of the buffered text of an answer that is stored."""
        now = asyncio.get_running_loop().time
        # Without earlier text the buffer has expired or was emptied, and there is nothing to wait for.
        deadline = now() + (_FINAL_TEXT_TIMEOUT if answer_text.text else 0)
        while True:
            remaining = max(deadline - now(), 0)
            buffered = await self.buffer.read(ref.answer_uuid, after=len(answer_text.text), wait=remaining)
            answer_text.text += buffered.text
            if buffered.is_over or buffered.has_gap or not remaining:
                return
