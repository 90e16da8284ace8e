"""Questions whose answers are followed as they are made, and answers that are followed again."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus

from app.chat.idempotency.service import IdempotencyService, SerializedResponse
from app.chat.schemas.messages import DirectResponse, MessageResponse
from app.chat.streaming import events
from app.chat.streaming.remote import MessageRef, RemoteStreams
from app.chat.streaming.revocation import RevocationWatch
from app.chat.streaming.subscriber import StreamSubscriber
from app.chat.streaming.transcript import Transcript
from app.chat.turns.presenters import answer_message, direct_message, message_response, question_message, stream_ending
from app.chat.turns.questions import DirectQuestion, Question
from app.chat.turns.runner import TurnRunner
from app.core.exceptions import NotFoundError
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat.idempotency_keys import IdempotencyKeyTakenError, StoredKey
from app.database.repositories.chat.turns import Turn

EventFrames = AsyncGenerator[bytes]
"""An event stream, to be closed by whoever reads it."""


@dataclass(frozen=True, slots=True)
class StreamingService:
    """Opens event streams. Whatever speaks against one is raised before it begins."""

    turns: TurnRunner
    idempotency: IdempotencyService
    remote_streams: RemoteStreams
    revocations: RevocationWatch

    async def ask(self, user: Principal, question: Question) -> EventFrames | SerializedResponse:
        """Ask a question in a session, and follow the answer. Under a key that was used, the answer comes at once.

        Raises:
            AppError: as `TurnRunner.answer` and `IdempotencyService.finished_turn`.

        """
        try:
            running = await self.turns.launch(question, streams=True)
        except IdempotencyKeyTakenError as taken:
            return _replayed_turn(await self.idempotency.finished_turn(taken))
        first = events.created(
            running.started.session_uuid,
            running.live.id,
            question_message(running.started, question.message, question.context),
        )
        return self._followed(running.live, user, 0, first)

    async def ask_directly(self, user: Principal, question: DirectQuestion) -> EventFrames | SerializedResponse:
        """Ask a question that belongs to no session, and follow the answer; under a key, likewise.

        Raises:
            AppError: as `TurnRunner.answer_directly` and `IdempotencyService.again`.

        """
        try:
            running = await self.turns.launch_directly(question, streams=True)
        except IdempotencyKeyTakenError as taken:
            return _replayed_directly(self.idempotency.original_request(taken), await self.idempotency.replay(taken))
        live = running.live
        return self._followed(live, user, 0, events.created_directly(live.id))

    async def resume(self, user: Principal, ref: MessageRef, *, after: int | None) -> EventFrames:
        """Follow an answer from a position on; None: from before its first event.

        Raises:
            NotFoundError: the caller has no such answer.

        """
        found = await self.remote_streams.find(ref)
        if found is None:
            raise NotFoundError("Message not found.")
        question, _ = found
        first = events.created(ref.session_uuid, ref.answer_uuid, message_response(question)) if after is None else b""
        running = self.turns.running_turns.get(ref.answer_uuid)
        if running is None:
            return self._mirrored(user, ref, after or 0, first)
        return self._followed(running.live, user, after or 0, first)

    def _followed(self, transcript: Transcript, user: Principal, position: int, first: bytes) -> EventFrames:
        return StreamSubscriber(transcript, position, self.revocations, user).frames(first)

    async def _mirrored(self, user: Principal, ref: MessageRef, position: int, first: bytes) -> EventFrames:
        async with (
            self.remote_streams.transcript(ref) as transcript,
            aclosing(self._followed(transcript, user, position, first)) as frames,
        ):
            async for frame in frames:
                yield frame


def _replayed_turn(turn: Turn) -> SerializedResponse:
    started = turn.started
    question = question_message(started, turn.question, turn.question_meta)
    return _replayed(events.created(started.session_uuid, started.answer_uuid, question), answer_message(turn))


def _replayed_directly(stored: StoredKey, first: SerializedResponse) -> SerializedResponse:
    assert stored.turn_id is not None  # noqa: S101 - taken with every key of a direct question
    answer = direct_message(stored.turn_id, DirectResponse.model_validate_json(first.body))
    return _replayed(events.created_directly(answer.id), answer)


def _replayed(created: bytes, answer: MessageResponse) -> SerializedResponse:
    """Make the whole event stream of an answer: its text in one piece."""
    length = len(answer.content)
    text = events.delta(answer.content, length) if answer.content else b""
    body = created + text + events.ending(stream_ending(answer), length)
    return SerializedResponse(HTTPStatus.OK, body, media_type="text/event-stream", is_replay=True)
