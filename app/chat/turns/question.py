"""A question, and the turn that answers it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.chat.streaming.publisher import AnswerStream
from app.core.schema_types import ResponseModel
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.turns.idempotency_keys import IdempotentRequest
from app.database.repositories.turns.turns import END_OF_BRANCH, Answer, StartedTurn, Turn, TurnPlace
from app.graph.model_policy import ModelPolicy
from app.graph.ports.messages import ClientMessage
from app.graph.prompts import FALLBACK_RESPONSE
from app.services.limits.quotas import TurnBudget


@dataclass(frozen=True, slots=True)
class Presenter:
    """Response of the endpoint that a question came from."""

    response: Callable[[Any], ResponseModel]
    """Builds the response body of a finished turn (`Turn`, or `DirectTurn` for a direct question)."""
    status_code: int = 200
    stores_failures: bool = True
    """Whether a failed answer to a direct question is a response that a repeated request gets again."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question in a session, or a direct one."""

    user: Principal
    session: UUID | NewSession | None
    """None: a direct question, which is not stored. A new session is stored with its first question or not at all."""
    message: str
    context: dict[str, Any]
    """Overrides the context of the session, key by key."""
    presenter: Presenter
    key: IdempotentRequest | None = None
    policy: ModelPolicy | None = None
    """Models and parameters. None: the default policy."""
    session_models: tuple[str, ...] = ()
    """Models that the session may replace the default one with. Empty: the request names a model."""
    budget: TurnBudget | None = None
    """Amount to reserve from the user's quota. None: no quota applies."""
    place: TurnPlace = END_OF_BRANCH
    """Where it belongs in the message tree of its session."""
    client_messages: tuple[ClientMessage, ...] | None = None
    """The whole conversation, the question included, if the client sent it. None: that of the session is sent."""
    fallback_response: str = FALLBACK_RESPONSE
    """Text of the answer if no model answers."""

    @property
    def is_repeated(self) -> bool:
        """Whether a stored question is answered once more."""
        return self.place.kind == "another_answer"

    @property
    def session_uuid(self) -> UUID | None:
        """Public id of the session; None for a direct question."""
        return self.session.uuid if isinstance(self.session, NewSession) else self.session


@dataclass(frozen=True, slots=True)
class DirectTurn:
    """Finished turn of a direct question."""

    id: UUID
    answer: Answer


FinishedTurn = Turn | DirectTurn


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """A turn that this process is running."""

    id: UUID
    """Public id of the answer."""
    question: Question
    started: StartedTurn | None
    """The stored question; None for a direct question."""
    stream: AnswerStream
    result: asyncio.Task[FinishedTurn]
