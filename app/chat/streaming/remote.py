"""Answers that another process makes, or made, for those who follow them here."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from app.chat.streaming.publisher import Ending, Transcript
from app.chat.turns.presenters import ending_of, message_response
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import PATIENCE, Database
from app.database.repositories.chat import sessions
from app.database.repositories.chat.sessions import MessageRow
from app.services.redis.stream_buffer import TurnBuffer

logger = logging.getLogger(__name__)

_LOOK_EVERY = 1.0
"""Seconds between looks at PostgreSQL."""
_ABANDONED_LOOKS = 10
"""So many looks may find that the answer's process has died, before nobody is expected to settle it any more."""


@dataclass(slots=True)
class _Mirror:
    transcript: Transcript
    task: asyncio.Task[None]
    followers: int = 0


@dataclass(frozen=True, slots=True)
class Address:
    """Where an answer is, and whose."""

    user_id: int
    session_uuid: UUID
    answer_uuid: UUID


@dataclass(slots=True)
class Mirrors:
    """One transcript for each answer that is followed here, however many follow it."""

    database: Database
    buffer: TurnBuffer
    _mirrors: dict[Address, _Mirror] = field(default_factory=dict)

    async def find(self, address: Address) -> tuple[MessageRow, MessageRow] | None:
        """Return the question and its answer as they are stored."""
        async with self.database.reading(max_seconds=PATIENCE) as session:
            return await sessions.find_turn(
                session,
                user_id=address.user_id,
                session_uuid=address.session_uuid,
                answer_uuid=address.answer_uuid,
            )

    @asynccontextmanager
    async def transcript(self, address: Address) -> AsyncIterator[Transcript]:
        """Keep a transcript of the answer for as long as the block runs."""
        mirror = self._mirrors.get(address)
        if mirror is None:
            transcript = Transcript()
            mirror = _Mirror(transcript, asyncio.create_task(self._feed(address, transcript)))
            self._mirrors[address] = mirror
        mirror.followers += 1
        try:
            yield mirror.transcript
        finally:
            mirror.followers -= 1
            if not mirror.followers:
                del self._mirrors[address]
                mirror.task.cancel()

    def let_go(self) -> None:
        """Let all followers go: they can follow elsewhere, and this process is about to end."""
        for mirror in self._mirrors.values():
            mirror.transcript.give_up()

    async def _feed(self, address: Address, transcript: Transcript) -> None:
        try:
            await self._copy(address, transcript)
        except Exception:
            logger.exception("cannot follow an answer")
            transcript.give_up()

    async def _copy(self, address: Address, transcript: Transcript) -> None:
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        abandoned = 0
        # What is there already, at once; then what comes.
        wait = 0.0
        while transcript.ending is None and not transcript.is_gone:
            excerpt = await self.buffer.read(address.answer_uuid, after=transcript.shown, wait=wait)
            if excerpt.text:
                transcript.text += excerpt.text
                transcript.show(len(transcript.text))
            if excerpt.is_over or loop.time() >= look_at:
                abandoned = await self._look(address, transcript, abandoned)
                look_at = loop.time() + _LOOK_EVERY
            if excerpt.is_broken or excerpt.is_over:
                await asyncio.sleep(_LOOK_EVERY)
            wait = _LOOK_EVERY

    async def _look(self, address: Address, transcript: Transcript, abandoned: int) -> int:
        """See what PostgreSQL has. Return how often it was found abandoned."""
        try:
            found = await self.find(address)
        except DatabaseUnavailableError:
            return abandoned
        if found is None:
            transcript.give_up()
            return 0
        _, answer = found
        if answer.message.status not in {"pending", "streaming"}:
            # What was said last may have come in between.
            last = await self.buffer.read(address.answer_uuid, after=transcript.shown, wait=0)
            transcript.text += last.text
            transcript.show(len(transcript.text), ending_of(message_response(answer)))
        elif not answer.is_abandoned:
            return 0
        elif abandoned >= _ABANDONED_LOOKS:
            message = message_response(answer).model_copy(update={"content": transcript.text})
            transcript.show(len(transcript.text), Ending(message, code="interrupted"))
        return abandoned + 1
