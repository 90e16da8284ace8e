"""Stopping an answer, whichever process makes it."""

import asyncio
from dataclasses import dataclass

from app.chat.schemas import MessageResponse
from app.chat.streaming.remote import Address, Mirrors
from app.chat.turns.presenters import message_response
from app.chat.turns.runner import TurnRunner
from app.core.exceptions import NotFoundError
from app.database.connection import PATIENCE, Database
from app.database.repositories.chat import turns as stored_turns
from app.services.redis.cancel_channel import StopChannel

_PATIENCE = 6.0
"""Seconds a turn may take to stop before the caller is told that it has not."""
_LOOK_EVERY = 0.15
"""Seconds between looks whether another process has stopped it."""


@dataclass(frozen=True, slots=True)
class StopService:
    """The request is stored, so that it is heard; the channel only makes it quick."""

    database: Database
    turns: TurnRunner
    mirrors: Mirrors
    channel: StopChannel

    async def stop(self, address: Address) -> MessageResponse:
        """Stop an answer, and return it as it is when it has really stopped. One that has ended stays as it is.

        Raises:
            NotFoundError: the caller has no such answer.

        """
        message = await self._message(address)
        if message.status not in {"pending", "streaming"}:
            return message
        async with self.database.autocommit(max_seconds=PATIENCE) as connection:
            await stored_turns.request_cancel(
                connection,
                user_id=address.user_id,
                session_uuid=address.session_uuid,
                answer_uuid=address.answer_uuid,
            )
        if address.answer_uuid in self.turns.stored:
            self.turns.stop(address.answer_uuid)
        else:
            await self.channel.tell(address.answer_uuid)
        give_up = asyncio.get_running_loop().time() + _PATIENCE
        while message.status in {"pending", "streaming"} and asyncio.get_running_loop().time() < give_up:
            await self._wait(address)
            message = await self._message(address)
        return message

    async def _wait(self, address: Address) -> None:
        running = self.turns.stored.get(address.answer_uuid)
        if running is None:
            await asyncio.sleep(_LOOK_EVERY)
        else:
            await asyncio.wait({running.result}, timeout=_PATIENCE)

    async def _message(self, address: Address) -> MessageResponse:
        found = await self.mirrors.find(address)
        if found is None:
            raise NotFoundError("Message not found.")
        return message_response(found[1], leases_tell=self.turns.store.abandoned.leases_tell)
