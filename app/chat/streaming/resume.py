"""Start and resumption of event streams: of a running turn, of a stored answer, of a replayed request."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from uuid import UUID

from app.chat.idempotency.serialized_response import SerializedResponse
from app.chat.idempotency.service import IdempotencyService
from app.chat.schemas.messages import DirectResponse, MessageResponse
from app.chat.streaming import events
from app.chat.streaming.answer_text import AnswerText
from app.chat.streaming.encoders import EventEncoder, MessageEventEncoder, SessionTitle
from app.chat.streaming.remote import MessageRef, RemoteStreams
from app.chat.streaming.revocation import RevocationWatch
from app.chat.streaming.subscriber import StreamSubscriber
from app.chat.turns.presenters import answer_message, direct_message, message_response, question_message, stream_ending
from app.chat.turns.question import Question, RunningTurn
from app.chat.turns.runner import TurnRunner
from app.core.exceptions import NotFoundError
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError

ACTIVE_STATUSES: Final = frozenset({"pending", "streaming"})
"""Statuses of answers that are not complete."""

EventFrames = AsyncGenerator[bytes]
"""Encoded events of a stream. The reader closes it."""


@dataclass(frozen=True, slots=True)
class StreamingService:
    """Opens event streams. Errors are raised before a stream starts, so that they become a problem document."""

    runner: TurnRunner
    idempotency: IdempotencyService
    remote_streams: RemoteStreams
    revocations: RevocationWatch

    def follow(self, running: RunningTurn, *, with_reasoning: bool = False) -> EventFrames:
        """Return the event stream of a turn that this process has just started."""
        started, question = running.started, running.question
        if started is None:
            first = events.direct_created(running.id)
            encoder = MessageEventEncoder(with_reasoning=with_reasoning)
            return self.subscribe(running.stream, question.user, 0, encoder, first)
        first = events.created(
            started.session_uuid, running.id, question_message(started, question.message, question.context)
        )
        if started.title_source in {"question", "model"}:
            # The client may not know it: the question has given it, or the model after the last answer.
            first += events.session_title(started.session_uuid, started.title, 0)
        encoder = MessageEventEncoder(SessionTitle(started.session_uuid, started.title), with_reasoning=with_reasoning)
        return self.subscribe(running.stream, question.user, 0, encoder, first)

    async def resume(
        self, user: Principal, ref: MessageRef, *, after: int | None, with_reasoning: bool = False
    ) -> EventFrames:
        """Return the event stream of a stored answer after a position; None: from its first event.

        Raises:
            NotFoundError: the user has no such answer.

        """
        stored = await self.remote_streams.find(ref)
        if stored is None:
            raise NotFoundError("Message not found.")
        first = b""
        if after is None:
            first = events.created(ref.session_uuid, ref.answer_uuid, message_response(stored.question))
        encoder = MessageEventEncoder(SessionTitle(ref.session_uuid, stored.title), with_reasoning=with_reasoning)
        running = self.runner.running_turns.get(ref.answer_uuid)
        if running is None:
            return self._subscribe_to_remote(user, ref, after or 0, encoder, first)
        return self.subscribe(running.stream, user, after or 0, encoder, first)

    async def resume_by_key(
        self, question: Question, *, after: int, with_reasoning: bool = False
    ) -> SerializedResponse | EventFrames:
        """Return the event stream of the first request with the question's key, after a position.

        Raises:
            NotFoundError: there was no such request, or what it created has been deleted.
            UnprocessableError: it had another body.
            ConflictError: it asked a direct question that another process is answering.

        """
        assert question.key is not None  # noqa: S101 - the caller has checked
        taken = await self.idempotency.find(question.key)
        stored = self.idempotency.original_request(taken)
        assert stored.turn_id is not None  # noqa: S101 - every request of a stream has a turn
        if stored.session_uuid is None:
            return await self._resume_direct(question, taken, stored.turn_id, after, with_reasoning=with_reasoning)
        ref = MessageRef(question.user.id, stored.session_uuid, stored.turn_id)
        turn = await self.remote_streams.find(ref)
        if turn is None:
            raise NotFoundError("Message not found.")
        if turn.answer.message.status in ACTIVE_STATUSES:
            return await self.resume(question.user, ref, after=after, with_reasoning=with_reasoning)
        return _rest_of_stream(message_response(turn.answer), after)

    async def _resume_direct(
        self,
        question: Question,
        taken: IdempotencyKeyTakenError,
        turn_id: UUID,
        after: int,
        *,
        with_reasoning: bool,
    ) -> SerializedResponse | EventFrames:
        running = self.runner.find_stream(turn_id)
        if running is not None:
            encoder = MessageEventEncoder(with_reasoning=with_reasoning)
            return self.subscribe(running, question.user, after, encoder)
        response = await self.idempotency.replay(taken)
        return _rest_of_stream(direct_message(turn_id, DirectResponse.model_validate_json(response.body)), after)

    async def replay(self, question: Question, taken: IdempotencyKeyTakenError) -> SerializedResponse:
        """Return the complete event stream of the first request with the question's key.

        Raises:
            NotFoundError, UnprocessableError, ConflictError: see `IdempotencyService.replay`.

        """
        if question.session is not None:
            turn = await self.idempotency.finished_turn(taken)
            started = turn.started
            first = events.created(
                started.session_uuid,
                started.answer_uuid,
                question_message(started, turn.question, turn.question_meta),
            )
            return _complete_stream(first, answer_message(turn))
        stored = self.idempotency.original_request(taken)
        response = await self.idempotency.replay(taken)
        assert stored.turn_id is not None  # noqa: S101 - stored with every key of a direct question
        answer = direct_message(stored.turn_id, DirectResponse.model_validate_json(response.body))
        return _complete_stream(events.direct_created(answer.id), answer)

    def subscribe(
        self, answer_text: AnswerText, user: Principal, position: int, encoder: EventEncoder, first: bytes = b""
    ) -> EventFrames:
        """Return the event stream of an answer after a position, as the encoder writes it. `first` precedes it."""
        return StreamSubscriber(answer_text, position, self.revocations, user, encoder).frames(first)

    async def _subscribe_to_remote(
        self, user: Principal, ref: MessageRef, position: int, encoder: EventEncoder, first: bytes
    ) -> EventFrames:
        async with (
            self.remote_streams.answer_text(ref) as answer_text,
            aclosing(self.subscribe(answer_text, user, position, encoder, first)) as frames,
        ):
            async for frame in frames:
                yield frame


def _rest_of_stream(answer: MessageResponse, after: int) -> SerializedResponse:
    """Return the event stream of a stored answer after a position, with the rest of its text in one delta."""
    length = len(answer.content)
    text = events.delta(answer.content[after:], length) if after < length else b""
    body = text + events.ending(stream_ending(answer), max(after, length))
    return SerializedResponse(HTTPStatus.OK, body, media_type="text/event-stream", is_replay=True)


def _complete_stream(created: bytes, answer: MessageResponse) -> SerializedResponse:
    """Return the whole event stream of an answer, with its text in one delta."""
    length = len(answer.content)
    text = events.delta(answer.content, length) if answer.content else b""
    body = created + text + events.ending(stream_ending(answer), length)
    return SerializedResponse(HTTPStatus.OK, body, media_type="text/event-stream", is_replay=True)
