"""Questions whose answers are followed as they are made, and answers that are followed again."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from app.chat import events
from app.chat.mirrors import Address, Mirrors
from app.chat.revocation import RevocationWatch
from app.chat.shapes import message_response, question_message
from app.chat.streams import Follower, guarded
from app.chat.turns import Question, TurnRunner
from app.core.exceptions import NotFoundError
from app.database.repositories.users import Principal

Frames = AsyncGenerator[bytes]
"""An event stream, to be closed by whoever reads it."""


@dataclass(frozen=True, slots=True)
class FollowingService:
    """Opens event streams. Whatever speaks against one is raised before it begins."""

    turns: TurnRunner
    mirrors: Mirrors
    revocations: RevocationWatch

    async def ask(self, user: Principal, question: Question) -> Frames:
        """Ask a question in a session, and follow the answer.

        Raises:
            AppError: as `TurnRunner.answer`.

        """
        running = await self.turns.launch(question, streams=True)
        first = events.created(
            running.started.session_uuid,
            running.live.id,
            question_message(running.started, question.message, question.context),
        )
        return guarded(Follower(running.live, 0), self.revocations, user, first)

    def ask_directly(self, user: Principal, message: str, context: dict[str, Any] | None) -> Frames:
        """Ask a question that belongs to no session, and follow the answer.

        Raises:
            AppError: as `TurnRunner.answer_directly`.

        """
        live = self.turns.launch_directly(user_id=user.id, message=message, context=context)
        return guarded(Follower(live, 0), self.revocations, user, events.created_directly(live.id))

    async def resume(self, user: Principal, address: Address, *, after: int | None) -> Frames:
        """Follow an answer from a position on; None: from before its first event.

        Raises:
            NotFoundError: the caller has no such answer.

        """
        found = await self.mirrors.find(address)
        if found is None:
            raise NotFoundError("Message not found.")
        question, _ = found
        first = (
            events.created(address.session_uuid, address.answer_uuid, message_response(question))
            if after is None
            else b""
        )
        running = self.turns.stored.get(address.answer_uuid)
        if running is None:
            return self._mirrored(user, address, after or 0, first)
        return guarded(Follower(running.live, after or 0), self.revocations, user, first)

    async def _mirrored(self, user: Principal, address: Address, position: int, first: bytes) -> Frames:
        async with (
            self.mirrors.transcript(address) as transcript,
            aclosing(guarded(Follower(transcript, position), self.revocations, user, first)) as frames,
        ):
            async for frame in frames:
                yield frame
