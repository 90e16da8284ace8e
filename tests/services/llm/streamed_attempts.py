"""Streamed attempts at the client of OpenAI's API."""

import pytest

from app.graph.ports.chat_model import Completion, ModelError, Sampling, StreamTimeouts
from app.services.llm.openai import OpenAIChatModel
from tests.services.llm.openai_attempts import QUESTION
from tests.support.fakes import model_request
from tests.support.provider import chunk
from tests.support.waiting import LONGEST_WAIT

LONG_TIMEOUTS = StreamTimeouts(first_token=LONGEST_WAIT, idle=LONGEST_WAIT, total=LONGEST_WAIT)
STOP = chunk(finish_reason="stop")


class StreamedAttempt:
    """One streamed attempt: the published text, and the outcome."""

    def __init__(self, model: OpenAIChatModel) -> None:
        self.model = model
        self.pieces: list[str] = []
        self.error: ModelError | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    async def run(self, timeouts: StreamTimeouts = LONG_TIMEOUTS) -> Completion:
        request = model_request(QUESTION, parameters=Sampling(max_tokens=50, temperature=0.5))
        return await self.model.stream(request, self.pieces.append, timeouts=timeouts)

    async def fail(self, timeouts: StreamTimeouts = LONG_TIMEOUTS) -> ModelError:
        with pytest.raises(ModelError) as failure:
            await self.run(timeouts)
        return failure.value
