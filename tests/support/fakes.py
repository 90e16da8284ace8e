"""In-memory fakes of ports: chat model, conversation history, email transport, prices."""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from email.message import EmailMessage
from typing import cast
from uuid import UUID, uuid4

from app.chat.turns.recovery import TurnRecovery, UsageEstimate
from app.config import DEFAULT_SYSTEM_PROMPT
from app.database.connection import Database
from app.graph.ports.chat_model import (
    Completion,
    ModelRequest,
    ModelTokenCounts,
    PublishText,
    Sampling,
    StreamTimeouts,
    TurnOwner,
)
from app.graph.ports.messages import HistoryMessage, PromptMessage, SessionHistory, Summary
from app.graph.ports.tool_calls import PublishToolCalls
from app.graph.prompts import instructions_builder
from app.services.email.transport import Email, compose

INSTRUCTIONS = instructions_builder(DEFAULT_SYSTEM_PROMPT)


def completion(text: str = "Hello.", *, model: str = "primary-2026") -> Completion:
    return Completion(text=text, model=model, finish_reason="stop", token_counts=ModelTokenCounts(12, 3))


def model_request(
    messages: list[PromptMessage],
    *,
    model: str = "primary",
    parameters: Sampling | None = None,
    owner: TurnOwner | None = None,
) -> ModelRequest:
    return ModelRequest(model, messages, parameters or Sampling(), owner or TurnOwner(1, uuid4()))


@dataclass(frozen=True)
class RecordedCall:
    """One recorded call of a fake model."""

    request: ModelRequest
    max_seconds: float

    @property
    def model(self) -> str:
        return self.request.model

    @property
    def messages(self) -> list[PromptMessage]:
        return cast("list[PromptMessage]", list(self.request.messages))


class FakeModel:
    """`ChatModel` that returns or raises the given outcomes in order; the outcome None never returns.

    With a `gate`, every call waits until the event is set.
    """

    def __init__(self, *outcomes: Completion | BaseException | None, gate: asyncio.Event | None = None) -> None:
        self._outcomes = list(outcomes)
        self.gate = gate or asyncio.Event()
        if gate is None:
            self.gate.set()
        self.calls: list[RecordedCall] = []
        self.was_called = asyncio.Event()
        self.published_first: list[str] = []
        """Pieces of a streamed answer that are published before the call waits or fails."""
        self.reasoning_first: list[str] = []
        """Pieces of reasoning that are published before them."""

    async def complete(self, request: ModelRequest, *, max_seconds: float) -> Completion:
        self.calls.append(RecordedCall(request, max_seconds))
        self.was_called.set()
        outcome = self._outcomes.pop(0)
        await self.gate.wait()
        if outcome is None:
            await asyncio.Event().wait()
        if isinstance(outcome, BaseException):
            raise outcome
        assert outcome is not None
        return outcome

    async def stream(
        self,
        request: ModelRequest,
        publish: PublishText,
        *,
        timeouts: StreamTimeouts,
        publish_reasoning: PublishText | None = None,
        publish_tool_calls: PublishToolCalls | None = None,
    ) -> Completion:
        for piece in self.reasoning_first:
            if publish_reasoning is not None:
                publish_reasoning(piece)
        for piece in self.published_first:
            publish(piece)
        completion = await self.complete(request, max_seconds=timeouts.first_token)
        publish(completion.text.removeprefix("".join(self.published_first)))
        return completion


@dataclass
class FakeHistory:
    """`ConversationHistory` with one conversation, or an error to raise."""

    messages: list[HistoryMessage] = field(default_factory=list)
    summary: Summary | None = None
    error: Exception | None = None

    async def load(self, session_id: UUID, *, before_depth: int, limit: int) -> SessionHistory:
        if self.error is not None:
            raise self.error
        earlier = [message for message in self.messages if message["depth"] < before_depth]
        return SessionHistory(earlier[-limit:] if limit else [], self.summary)


def conversation(*texts: str, first_seq: int = 1) -> list[HistoryMessage]:
    """Return alternating messages of user and assistant."""
    return [
        {"depth": first_seq + number, "role": "assistant" if number % 2 else "user", "content": text}
        for number, text in enumerate(texts)
    ]


class FakeEmailTransport:
    """`EmailTransport` that raises the given errors in order, and then records the emails.

    With a `gate`, every call waits until the event is set.
    """

    def __init__(self, *errors: Exception, gate: asyncio.Event | None = None) -> None:
        self._errors = list(errors)
        self._gate = gate
        self.sent: list[Email] = []
        self.composed = list[EmailMessage]()
        self.was_called = asyncio.Event()
        self.was_sent = asyncio.Event()

    async def send(self, mail: Email) -> None:
        message = compose(mail, "Chat <no-reply@example.com>")
        self.was_called.set()
        if self._gate is not None:
            await self._gate.wait()
        if self._errors:
            raise self._errors.pop(0)
        self.sent.append(mail)
        self.composed.append(message)
        self.was_sent.set()


class FakePrices:
    """`PriceList` of models of one provider."""

    def cost(
        self, model_used: str, prompt_tokens: int, completion_tokens: int, *, requested: str | None = None
    ) -> Decimal | None:
        """Return 0.001 US dollars per token of a prompt and 0.002 of an answer; None for `unknown...` models."""
        if model_used.startswith("unknown"):
            return None
        return Decimal("0.001") * prompt_tokens + Decimal("0.002") * completion_tokens

    def provider_of(self, _name: str) -> str:
        return "default"


PRICES = FakePrices()


def turn_recovery(database: Database, text: str | None = "") -> TurnRecovery:
    """Return a `TurnRecovery` whose stream buffer has this text of every answer; None: it is unavailable."""

    async def published(_answer: UUID) -> str | None:
        return text

    return TurnRecovery(database, published, UsageEstimate("gpt-primary", 10, PRICES))
