"""What a client asks, of which model, and in what manner: from the wire to a question that can be run."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.chat.schemas.messages import ChatRequest, ModelWishes
from app.chat.schemas.models import ModelList, ModelResponse
from app.chat.schemas.sessions import SessionCreate
from app.core.exceptions import InvalidFieldError, UnprocessableError
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat.idempotency_keys import IdempotentRequest
from app.database.repositories.chat.sessions import NewSession
from app.graph.context_window import exceeds_context_window
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import Sampling
from app.services.limits.quotas import QuotaService, TurnBudget
from app.services.llm.catalog import ModelCatalog

_PROMPT_OVERHEAD = 50
"""Tokens that providers count besides the texts, at most."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks in a session."""

    user_id: int
    user_uuid: UUID
    session: UUID | NewSession
    """A new session is stored with the question, or not at all."""
    message: str
    context: dict[str, Any]
    """Overrides, key by key, what the session was created with."""
    key: IdempotentRequest | None = None
    policy: ModelPolicy | None = None
    """Who answers it, and how. None: as always."""
    budget: TurnBudget | None = None
    """What to reserve of its owner's quota. None: there is no quota."""


@dataclass(frozen=True, slots=True)
class DirectQuestion:
    """What somebody asks outside of any session."""

    user_id: int
    user_uuid: UUID
    message: str
    context: dict[str, Any]
    key: IdempotentRequest | None = None
    policy: ModelPolicy | None = None
    budget: TurnBudget | None = None
    """Both as of a question in a session."""


@dataclass(frozen=True, slots=True)
class QuestionBuilder:
    """Makes questions.

    Each may raise `UnprocessableError`: no such model, more tokens than are allowed, a message that no model can take.
    """

    catalog: ModelCatalog
    policy: ModelPolicy
    """What holds where a question says nothing."""
    quotas: QuotaService

    def in_session(
        self, user: Principal, session: UUID, request: ChatRequest, key: IdempotentRequest | None
    ) -> Question:
        """Make a question in a session."""
        policy = self._policy(request, request.message)
        budget = self._budget(user, request.message, request.context, policy)
        return Question(user.id, user.uuid, session, request.message, request.context or {}, key, policy, budget)

    def first(
        self, user: Principal, session: NewSession, request: SessionCreate, key: IdempotentRequest | None
    ) -> Question:
        """Make the first question of a new session, which the request must hold."""
        assert request.initial_message is not None  # noqa: S101 - the caller has looked
        policy = self._policy(request, request.initial_message)
        budget = self._budget(user, request.initial_message, request.context, policy)
        return Question(user.id, user.uuid, session, request.initial_message, {}, key, policy, budget)

    def directly(self, user: Principal, request: ChatRequest, key: IdempotentRequest | None) -> DirectQuestion:
        """Make a question outside of any session."""
        policy = self._policy(request, request.message)
        budget = self._budget(user, request.message, request.context, policy)
        return DirectQuestion(user.id, user.uuid, request.message, request.context or {}, key, policy, budget)

    def models(self) -> ModelList:
        """Return what a question may ask for."""
        limit = self.policy.sampling.max_tokens
        assert limit is not None  # noqa: S101 - a setting that is always there
        return ModelList(
            models=[
                ModelResponse(
                    name=model.name,
                    is_default=model.name == self.catalog.primary,
                    is_fallback=model.name in self.catalog.fallbacks,
                    context_window=model.context_window,
                    prompt_price=model.prompt_price,
                    completion_price=model.completion_price,
                )
                for model in self.catalog.models
            ],
            max_tokens=limit,
        )

    def _policy(self, wishes: ModelWishes, message: str) -> ModelPolicy | None:
        policy = self._wished(wishes)
        asked = policy or self.policy
        if exceeds_context_window(message, asked.instructions({}), asked):
            raise UnprocessableError("The message is too long for the model.", code="message_too_long")
        return policy

    def _wished(self, wishes: ModelWishes) -> ModelPolicy | None:
        sampling = Sampling(
            wishes.temperature, wishes.top_p, wishes.frequency_penalty, wishes.presence_penalty, wishes.max_tokens
        )
        if wishes.model is None and sampling == _NO_SAMPLING:
            return None
        limit = self.policy.sampling.max_tokens
        if wishes.max_tokens is not None and limit is not None and wishes.max_tokens > limit:
            raise InvalidFieldError("body.max_tokens", "less_than_equal", f"must be at most {limit}")
        models = self.policy.models
        if wishes.model is not None:
            if self.catalog.get(wishes.model) is None:
                raise InvalidFieldError("body.model", "unknown_model", "is not one of GET /models")
            models = tuple(dict.fromkeys((wishes.model, *self.catalog.fallbacks)))
        return replace(self.policy, models=models, sampling=sampling.with_defaults(self.policy.sampling))

    def _budget(
        self, user: Principal, message: str, context: dict[str, Any] | None, policy: ModelPolicy | None
    ) -> TurnBudget | None:
        """Return the most that an answer may use; None: nobody counts it."""
        if not self.quotas.apply_to(user):
            return None
        policy = policy or self.policy
        # As many tokens as the costliest text has; of English, half of it would do.
        question = len((policy.instructions(context or {}) + message).encode()) // 2 + _PROMPT_OVERHEAD
        answer = policy.sampling.max_tokens or 0
        return TurnBudget(
            tokens=question + answer,
            cost_usd=max(self._cost(model, question, answer) for model in policy.models),
            prompt_price=max(self._cost(model, _MILLION, 0) for model in policy.models) / _MILLION,
        )

    def _cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> Decimal:
        return self.catalog.cost(model, prompt_tokens, completion_tokens) or Decimal(0)


_MILLION = 1_000_000
_NO_SAMPLING = Sampling()
