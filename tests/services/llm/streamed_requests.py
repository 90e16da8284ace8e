"""Requests to the caching chat model, and the text that is published to them."""

import asyncio
from uuid import uuid4

from app.graph.ports.chat_model import ModelRequest, StreamTimeouts, TurnOwner
from app.graph.ports.messages import PromptMessage
from app.services.llm.caching_chat_model import CachingChatModel
from tests.support.fakes import model_request
from tests.support.waiting import LONGEST_WAIT, eventually

QUESTION: list[PromptMessage] = [{"role": "user", "content": "Hi"}]
ADA, BOB = TurnOwner(1, uuid4(), uuid4()), TurnOwner(2, uuid4(), uuid4())
REQUEST = model_request(QUESTION, owner=ADA)
LONG_TIMEOUTS = StreamTimeouts(first_token=LONGEST_WAIT, idle=LONGEST_WAIT, total=LONGEST_WAIT)
TEXT = "Many words that follow each other. " * 20


class StreamedRequest:
    """A request, and the text that has been published to it."""

    def __init__(
        self, model: CachingChatModel, request: ModelRequest = REQUEST, timeouts: StreamTimeouts = LONG_TIMEOUTS
    ) -> None:
        self.pieces: list[str] = []
        self.reasoning: list[str] = []
        self.published = asyncio.Event()
        self.task = asyncio.create_task(
            model.stream(request, self._publish, timeouts=timeouts, publish_reasoning=self.reasoning.append)
        )

    def _publish(self, piece: str) -> None:
        self.pieces.append(piece)
        self.published.set()

    @property
    def text(self) -> str:
        return "".join(self.pieces)


async def wait_for_waiters(model: CachingChatModel, count: int) -> None:
    """Wait until this many requests wait for running calls."""
    await eventually(lambda: sum(len(call.owners) for call in model._calls.values()) == count)
