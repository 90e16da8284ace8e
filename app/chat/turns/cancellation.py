"""Cancellation of an answer, whichever process generates it."""

import asyncio
from dataclasses import dataclass

from app.chat.schemas.messages import MessageResponse
from app.chat.streaming.remote import MessageRef, RemoteStreams
from app.chat.turns.presenters import message_response
from app.chat.turns.runner import TurnRunner
from app.core.exceptions import NotFoundError
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.turns import active_turns
from app.services import turn_end_polling
from app.services.redis.cancel_channel import CancelChannel
from app.services.turn_end_polling import ACTIVE_STATUSES, wait_until_stopped

_POLL_INTERVAL = 0.15
"""Seconds between two checks whether another process has stopped it."""


@dataclass(frozen=True, slots=True)
class CancellationService:
    """Stores cancellation requests, which the running process polls; the Redis channel only makes them faster."""

    database: Database
    runner: TurnRunner
    remote_streams: RemoteStreams
    channel: CancelChannel

    async def cancel(self, ref: MessageRef) -> MessageResponse:
        """Cancel an answer, wait until it has stopped, and return it. An answer that has ended is left unchanged.

        If it has not stopped after 6 s, it is returned with its current status.

        Raises:
            NotFoundError: the user has no such answer.

        """
        message = await self._message(ref)
        if message.status not in ACTIVE_STATUSES:
            return message
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await active_turns.request_cancel(
                connection,
                user_id=ref.user_id,
                session_uuid=ref.session_uuid,
                answer_uuid=ref.answer_uuid,
            )
        if ref.answer_uuid in self.runner.running_turns:
            self.runner.cancel(ref.answer_uuid)
        else:
            await self.channel.publish(ref.answer_uuid)
        return await wait_until_stopped(
            message, lambda: self._message(ref), status_of=lambda message: message.status, wait=lambda: self._wait(ref)
        )

    async def _wait(self, ref: MessageRef) -> None:
        running = self.runner.running_turns.get(ref.answer_uuid)
        if running is None:
            await asyncio.sleep(_POLL_INTERVAL)
        else:
            await asyncio.wait({running.result}, timeout=turn_end_polling.CANCEL_TIMEOUT)

    async def _message(self, ref: MessageRef) -> MessageResponse:
        stored = await self.remote_streams.find(ref)
        if stored is None:
            raise NotFoundError("Message not found.")
        return message_response(
            stored.answer, lease_expiry_is_reliable=self.runner.store.recovery.lease_expiry_is_reliable
        )
