"""Stopping an answer, whichever process makes it."""

import asyncio
from dataclasses import dataclass

from app.chat.schemas.messages import MessageResponse
from app.chat.streaming.remote import MessageRef, RemoteStreams
from app.chat.turns.presenters import message_response
from app.chat.turns.runner import TurnRunner
from app.core.exceptions import NotFoundError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.chat import turn_leases
from app.services.redis.cancel_channel import CancelChannel

_CANCEL_TIMEOUT = 6.0
"""Seconds a turn may take to stop before the caller is told that it has not."""
_POLL_INTERVAL = 0.15
"""Seconds between looks whether another process has stopped it."""


@dataclass(frozen=True, slots=True)
class CancellationService:
    """The request is stored, so that it is heard; the channel only makes it quick."""

    database: Database
    turns: TurnRunner
    remote_streams: RemoteStreams
    channel: CancelChannel

    async def stop(self, ref: MessageRef) -> MessageResponse:
        """Stop an answer, and return it as it is when it has really stopped. One that has ended stays as it is.

        Raises:
            NotFoundError: the caller has no such answer.

        """
        message = await self._message(ref)
        if message.status not in {"pending", "streaming"}:
            return message
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await turn_leases.request_cancel(
                connection,
                user_id=ref.user_id,
                session_uuid=ref.session_uuid,
                answer_uuid=ref.answer_uuid,
            )
        if ref.answer_uuid in self.turns.running_turns:
            self.turns.stop(ref.answer_uuid)
        else:
            await self.channel.publish(ref.answer_uuid)
        deadline = asyncio.get_running_loop().time() + _CANCEL_TIMEOUT
        while message.status in {"pending", "streaming"} and asyncio.get_running_loop().time() < deadline:
            await self._wait(ref)
            message = await self._message(ref)
        return message

    async def _wait(self, ref: MessageRef) -> None:
        running = self.turns.running_turns.get(ref.answer_uuid)
        if running is None:
            await asyncio.sleep(_POLL_INTERVAL)
        else:
            await asyncio.wait({running.result}, timeout=_CANCEL_TIMEOUT)

    async def _message(self, ref: MessageRef) -> MessageResponse:
        found = await self.remote_streams.find(ref)
        if found is None:
            raise NotFoundError("Message not found.")
        return message_response(found[1], lease_expiry_is_reliable=self.turns.store.recovery.lease_expiry_is_reliable)
