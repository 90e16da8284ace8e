"""The single entry point for questions: plain, streamed, in a session or direct."""

import asyncio
from dataclasses import dataclass

from app.chat.idempotency.serialized_response import SerializedResponse
from app.chat.idempotency.service import IdempotencyService
from app.chat.streaming.resume import EventFrames, StreamingService
from app.chat.turns.question import Question
from app.chat.turns.runner import TurnRunner
from app.core.schema_types import ResponseModel
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError


@dataclass(frozen=True, slots=True)
class TurnService:
    """Answers questions, each idempotency key once."""

    runner: TurnRunner
    idempotency: IdempotencyService
    streaming: StreamingService

    async def ask(
        self, question: Question, *, stream: bool, with_reasoning: bool = False
    ) -> ResponseModel | SerializedResponse | EventFrames:
        """Answer a question.

        Returns the response of the question's presenter, or its event stream with `stream`. A question whose
        idempotency key was used before gets the response of the first request. `with_reasoning`: the stream has events
        with the model's reasoning.

        Raises:
            NotFoundError: the user has no such session, or it was deleted in the meantime.
            ConflictError: the previous question of the session, or the first request with this key, is in progress, or
                the session is archived.
            UnprocessableError: the key was used for a different request.
            TooManyRequestsError: the quota is used up.
            ServiceUnavailableError: this process is shutting down, or PostgreSQL is not available.

        """
        try:
            running = await self.runner.launch(question, stream=stream)
        except IdempotencyKeyTakenError as error:
            if stream:
                return await self.streaming.replay(question, error)
            return await self.idempotency.replay(error, question.presenter)
        if stream:
            return self.streaming.follow(running, with_reasoning=with_reasoning)
        turn = await asyncio.shield(running.result)
        return await self.idempotency.respond(question, turn)
