"""Repeated requests with an `Idempotency-Key`: they get the first answer without a model call, if it was stored."""

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from app.chat.idempotency.service import IdempotencyService
from app.chat.openai_api.answer_errors import answer_error
from app.chat.openai_api.presenter import chat_completion, stored_completion
from app.chat.openai_api.schemas import ChatCompletion
from app.chat.turns.presenters import answer_message, stream_ending
from app.chat.turns.question import FinishedTurn, Presenter
from app.core.exceptions import ConflictError, ServiceUnavailableError
from app.database.repositories.turns.idempotency_keys import IdempotencyKeyTakenError
from app.database.repositories.turns.turns import Turn
from app.services.limits.admission import release_slot

_MAX_WAIT: Final = 60.0
"""Seconds for which a repeated request waits for the first one: clients repeat a 409 only twice, within seconds."""
_POLL_INTERVAL: Final = 0.5


def completion_presenter(model: str) -> Presenter:
    """Return the presenter of the requests of this API. `model`: the requested one.

    A failed answer is an error, after which a request with the same key is executed again.
    """
    requested_at = int(time.time())

    def response(turn: FinishedTurn) -> ChatCompletion:
        if isinstance(turn, Turn):
            completion = stored_completion(turn, model=model)
        else:
            completion = chat_completion(turn.id, turn.answer, created=requested_at, model=model)
        # Stored responses have the fields that were set: here all.
        return ChatCompletion.model_validate(completion.model_dump())

    return Presenter(response, HTTPStatus.OK, stores_failures=False)


@dataclass(frozen=True, slots=True)
class CompletionReplays:
    """Finds the answers of earlier requests with the same key."""

    idempotency: IdempotencyService
    stopping: asyncio.Event
    """Set when the process shuts down."""

    async def find(self, taken: IdempotencyKeyTakenError, *, model: str, window: int) -> ChatCompletion:
        """Return the answer to the first request with the key; while it is in progress, wait for it.

        `window`: context window of the model in tokens.

        Raises:
            NotFoundError, UnprocessableError: see `IdempotencyService.replay`.
            ConflictError: the first request takes longer, or has failed in the meantime.
            ServiceUnavailableError: the process shuts down while the first request is in progress.
            AppError: its answer is stored in a session, and failed.

        """
        deadline = asyncio.get_running_loop().time() + _MAX_WAIT
        while True:
            if taken.stored is None:
                raise ConflictError("The first request with this key has failed. Repeat it.", code="turn_interrupted")
            try:
                return await self._find(taken, model, window)
            except ConflictError as error:
                if error.code != "idempotency_in_progress" or asyncio.get_running_loop().time() > deadline:
                    raise
            if self.stopping.is_set():
                raise ServiceUnavailableError(code="shutting_down")
            release_slot()  # the first request takes seconds
            await asyncio.sleep(_POLL_INTERVAL)
            taken = IdempotencyKeyTakenError(taken.key, await self.idempotency.find_stored(taken.key))

    async def _find(self, taken: IdempotencyKeyTakenError, model: str, window: int) -> ChatCompletion:
        stored = self.idempotency.original_request(taken)
        if stored.session_uuid is None:
            response = await self.idempotency.replay(taken)
            return ChatCompletion.model_validate_json(response.body)
        turn = await self.idempotency.finished_turn(taken)
        if turn.answer.status != "complete":
            ending = stream_ending(answer_message(turn))
            code = ending.code or ("cancelled" if turn.answer.status == "cancelled" else "internal_error")
            raise answer_error(code, turn.answer.meta, window=window)
        return stored_completion(turn, model=model)
