"""Answers that another process makes, or made, for those who follow them here."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from app.chat.streaming.transcript import Ending, Transcript
from app.chat.turns.presenters import message_response, stream_ending
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import sessions
from app.database.repositories.chat.sessions import MessageRow
from app.services.redis.stream_buffer import StreamBuffer

logger = logging.getLogger(__name__)

_POLL_INTERVAL = 1.0
"""Seconds between looks at PostgreSQL."""
_MAX_ORPHANED_POLLS = 10
"""So many looks may find that the answer's process has died, before nobody is expected to settle it any more."""


@dataclass(slots=True)
class _RemoteStream:
    transcript: Transcript
    task: asyncio.Task[None]
    subscribers: int = 0


@dataclass(frozen=True, slots=True)
class MessageRef:
    """Where an answer is, and whose."""

    user_id: int
    session_uuid: UUID
    answer_uuid: UUID


@dataclass(slots=True)
class RemoteStreams:
    """One transcript for each answer that is followed here, however many follow it."""

    database: Database
    buffer: StreamBuffer
    _mirrors: dict[MessageRef, _RemoteStream] = field(default_factory=dict)

    async def find(self, ref: MessageRef) -> tuple[MessageRow, MessageRow] | None:
        """Return the question and its answer as they are stored."""
        async with self.database.read_only(max_seconds=REQUEST_TIMEOUT) as session:
            return await sessions.find_turn(
                session,
                user_id=ref.user_id,
                session_uuid=ref.session_uuid,
                answer_uuid=ref.answer_uuid,
            )

    @asynccontextmanager
    async def transcript(self, ref: MessageRef) -> AsyncIterator[Transcript]:
        """Keep a transcript of the answer for as long as the block runs."""
        mirror = self._mirrors.get(ref)
        if mirror is None:
            transcript = Transcript()
            mirror = _RemoteStream(transcript, asyncio.create_task(self._feed(ref, transcript)))
            self._mirrors[ref] = mirror
        mirror.subscribers += 1
        try:
            yield mirror.transcript
        finally:
            mirror.subscribers -= 1
            if not mirror.subscribers:
                del self._mirrors[ref]
                mirror.task.cancel()

    def release_all(self) -> None:
        """Let all subscribers go: they can follow elsewhere, and this process is about to end."""
        for mirror in self._mirrors.values():
            mirror.transcript.give_up()

    async def _feed(self, ref: MessageRef, transcript: Transcript) -> None:
        try:
            await self._copy(ref, transcript)
        except Exception:
            logger.exception("cannot follow an answer")
            transcript.give_up()

    async def _copy(self, ref: MessageRef, transcript: Transcript) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        abandoned = 0
        # What is there already, at once; then what comes.
        wait = 0.0
        while transcript.ending is None and not transcript.is_gone:
            excerpt = await self.buffer.read(ref.answer_uuid, after=transcript.shown, wait=wait)
            if excerpt.text:
                transcript.text += excerpt.text
                transcript.show(len(transcript.text))
            if excerpt.is_over or loop.time() >= look_at:
                abandoned = await self._look(ref, transcript, abandoned)
                look_at = loop.time() + _POLL_INTERVAL
            if excerpt.is_broken or excerpt.is_over:
                await asyncio.sleep(_POLL_INTERVAL)
            wait = _POLL_INTERVAL

    async def _look(self, ref: MessageRef, transcript: Transcript, abandoned: int) -> int:
        """See what PostgreSQL has. Return how often it was found abandoned."""
        try:
            found = await self.find(ref)
        except DatabaseUnavailableError:
            return abandoned
        if found is None:
            transcript.give_up()
            return 0
        _, answer = found
        if answer.message.status not in {"pending", "streaming"}:
            # What was said last may have come in between.
            last = await self.buffer.read(ref.answer_uuid, after=transcript.shown, wait=0)
            transcript.text += last.text
            transcript.show(len(transcript.text), stream_ending(message_response(answer)))
        elif not answer.is_orphaned:
            return 0
        elif abandoned >= _MAX_ORPHANED_POLLS:
            message = message_response(answer).model_copy(update={"content": transcript.text})
            transcript.show(len(transcript.text), Ending(message, code="interrupted"))
        return abandoned + 1
