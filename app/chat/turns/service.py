"""Entry point for questions of the native API: plain, streamed, in a session or direct."""

import asyncio
from dataclasses import dataclass

from app.chat.idempotency.serialized_response import SerializedResponse
from app.chat.idempotency.service import IdempotencyService
from app.chat.streaming.resume import EventFrames, StreamingService
from app.chat.turns.question import Question
from app.chat.turns.runner import TurnRunner
from app.core.schema_types import ResponseModel
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError
from app.services.limits.admission import release_slot
from app.services.limits.concurrency import ConcurrencyLimiter


@dataclass(frozen=True, slots=True)
class TurnService:
    """Answers questions, each idempotency key once."""

    runner: TurnRunner
    idempotency: IdempotencyService
    streaming: StreamingService
    limiter: ConcurrencyLimiter
    """Questions without event stream in progress, per account."""

    async def ask(
        self, question: Question, *, stream: bool, with_reasoning: bool = False, after: int | None = None
    ) -> ResponseModel | SerializedResponse | EventFrames:
        """Answer a question.

        Returns the response of the question's presenter, or its event stream with `stream`. A question whose
        idempotency key was used before gets the response of the first request. `with_reasoning`: the stream has events
        with the model's reasoning. `after`: position after which the stream of the first request with the question's
        key is resumed; the question is not asked again.

        Raises:
            NotFoundError: the user has no such session, or it was deleted in the meantime, or there was no request
                with the key whose stream is resumed.
            ConflictError: the previous question of the session, or the first request with this key, is in progress, or
                the session is archived.
            UnprocessableError: the key was used for a different request.
            TooManyRequestsError: the quota is used up, or the user has too many questions in progress.
            ServiceUnavailableError: this process is shutting down or overloaded, or PostgreSQL is not available.

        """
        if after is not None:
            return await self.streaming.resume_by_key(question, after=after, with_reasoning=with_reasoning)
        if not stream:
            with self.limiter.slot(question.user.id):
                return await self._answer(question)
        try:
            running = await self.runner.launch(question, stream=True)
        except IdempotencyKeyTakenError as error:
            return await self.streaming.replay(question, error)
        return self.streaming.follow(running, with_reasoning=with_reasoning)

    async def _answer(self, question: Question) -> ResponseModel | SerializedResponse:
        try:
            running = await self.runner.launch(question, stream=False)
        except IdempotencyKeyTakenError as error:
            return await self.idempotency.replay(error, question.presenter)
        release_slot()  # the model takes seconds, and the task of the turn stores the answer
        turn = await asyncio.shield(running.result)
        return await self.idempotency.respond(question, turn)
