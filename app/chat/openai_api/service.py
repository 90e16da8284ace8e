"""Answers requests for chat completions with the turns of the native API."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from uuid import UUID

from app.chat.idempotency.serialized_response import SerializedResponse
from app.chat.openai_api.answer_errors import answer_error
from app.chat.openai_api.chunks import ChunkEncoder
from app.chat.openai_api.disconnects import WaitForDisconnect, wait_unless_disconnected
from app.chat.openai_api.idempotency import CompletionReplays
from app.chat.openai_api.presenter import completion_id, created_at
from app.chat.openai_api.questions import CompletionQuestions
from app.chat.openai_api.schemas import ChatCompletion, ChatCompletionRequest
from app.chat.streaming.publisher import AnswerStream
from app.chat.streaming.resume import EventFrames, StreamingService
from app.chat.turns.question import Question, RunningTurn
from app.chat.turns.runner import TurnRunner
from app.core.exceptions import AppError
from app.core.schema_types import ResponseModel
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError, IdempotentRequest
from app.services.limits.admission import release_slot

_MAX_WAIT_FOR_START: Final = 10.0
"""Seconds for which a stream waits for its beginning, so that an early failure gets an error status."""


@dataclass(frozen=True, slots=True)
class CompletionService:
    """Answers a conversation, plain or streamed."""

    questions: CompletionQuestions
    runner: TurnRunner
    streaming: StreamingService
    replays: CompletionReplays

    async def complete(
        self,
        user: Principal,
        request: ChatCompletionRequest,
        session: UUID | None,
        key: IdempotentRequest | None,
        *,
        wait_for_disconnect: WaitForDisconnect,
    ) -> SerializedResponse:
        """Return the whole answer.

        If the client disconnects, the request ends, and the answer is cancelled, unless it can be read later: in a
        session, or by a repeated request with the same key. `wait_for_disconnect` returns then.

        Raises:
            AppError: the request cannot be answered, or no model answered it; see `CompletionQuestions.build`,
                `TurnRunner.launch` and `answer_error`.

        """
        question = self.questions.build(user, request, session, key)
        try:
            running = await self.runner.launch(question, stream=False)
        except IdempotencyKeyTakenError as taken:
            return _serialize(await self._replay(question, taken, wait_for_disconnect), is_replay=True)
        release_slot()  # the model takes seconds
        try:
            turn = await wait_unless_disconnected(asyncio.shield(running.result), wait_for_disconnect)
        finally:
            _cancel_unless_readable(running)
        if (error := self._error(question, running.stream)) is not None:
            raise error
        return _serialize(question.presenter.response(turn))

    async def stream(
        self,
        user: Principal,
        request: ChatCompletionRequest,
        session: UUID | None,
        key: IdempotentRequest | None,
        *,
        wait_for_disconnect: WaitForDisconnect,
    ) -> SerializedResponse | EventFrames:
        """Return the answer as an event stream of chunks. A client that disconnects cancels it as in `complete`.

        Raises:
            AppError: as `complete`, if it is known before the stream begins.

        """
        question = self.questions.build(user, request, session, key)
        model = _model(question)
        include_usage = bool(request.stream_options and request.stream_options.include_usage)
        window = self.questions.context_window(model)
        try:
            running = await self.runner.launch(question, stream=True)
        except IdempotencyKeyTakenError as taken:
            answer = await self._replay(question, taken, wait_for_disconnect)
            encoder = ChunkEncoder(
                answer.id, answer.model, created=answer.created, include_usage=include_usage, window=window
            )
            return SerializedResponse(
                HTTPStatus.OK, encoder.whole(answer), media_type="text/event-stream", is_replay=True
            )
        release_slot()  # the model takes seconds
        try:
            await wait_unless_disconnected(_wait_for_start(running.stream), wait_for_disconnect)
        except (asyncio.CancelledError, AppError):
            _cancel_unless_readable(running)
            raise
        if running.stream.final_ending is not None:
            await asyncio.shield(running.result)
            if (error := self._error(question, running.stream)) is not None:
                raise error
        encoder = ChunkEncoder(
            completion_id(running.id),
            model,
            created=int(time.time()) if running.started is None else created_at(running.started),
            include_usage=include_usage,
            window=window,
        )
        return self._frames(running, encoder)

    async def _frames(self, running: RunningTurn, encoder: ChunkEncoder) -> AsyncGenerator[bytes]:
        frames = self.streaming.subscribe(running.stream, running.question.user, 0, encoder, encoder.first())
        try:
            async with aclosing(frames):
                async for frame in frames:
                    yield frame
        finally:
            _cancel_unless_readable(running)

    async def _replay(
        self, question: Question, taken: IdempotencyKeyTakenError, wait_for_disconnect: WaitForDisconnect
    ) -> ChatCompletion:
        model = _model(question)
        answer = self.replays.find(taken, model=model, window=self.questions.context_window(model))
        return await wait_unless_disconnected(answer, wait_for_disconnect)

    def _error(self, question: Question, stream: AnswerStream) -> AppError | None:
        """Return the error of an answer that has ended without success. None: it has not."""
        end = stream.final_ending
        if end is None or end.message.status == "complete":
            return None
        code = end.code or ("cancelled" if end.message.status == "cancelled" else "internal_error")
        return answer_error(code, end.message.metadata, window=self.questions.context_window(_model(question)))


def _model(question: Question) -> str:
    assert question.policy is not None  # noqa: S101 - questions of this API always have one
    return question.policy.models[0]


def _has_begun(stream: AnswerStream) -> bool:
    return bool(stream.text or stream.reasoning or stream.tool_calls) and stream.final_ending is None


def _serialize(completion: ResponseModel, *, is_replay: bool = False) -> SerializedResponse:
    return SerializedResponse(HTTPStatus.OK, completion.model_dump_json().encode(), is_replay=is_replay)


def _is_readable_later(running: RunningTurn) -> bool:
    return running.started is not None or running.question.key is not None


def _cancel_unless_readable(running: RunningTurn) -> None:
    if not _is_readable_later(running) and not running.result.done():
        running.stream.cancel()


async def _wait_for_start(stream: AnswerStream) -> None:
    """Wait until the answer begins or fails, at most `_MAX_WAIT_FOR_START` seconds."""
    changed = asyncio.Event()
    stream.subscribe(changed.set)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(_MAX_WAIT_FOR_START):
                while not (_has_begun(stream) or stream.ending is not None or stream.is_closed):
                    changed.clear()
                    await changed.wait()
    finally:
        stream.unsubscribe(changed.set)
