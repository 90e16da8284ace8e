"""Builds questions from requests: session, model, parameters, quota budget."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from app.chat.schemas.messages import AnswerCreate, ChatRequest, MessageCreate, ModelOptions
from app.chat.schemas.models import ModelList, ModelResponse
from app.chat.schemas.sessions import SessionCreate
from app.chat.turns.presenters import direct_response, session_with_turn, turn_response
from app.chat.turns.question import Presenter, Question
from app.core.exceptions import InvalidFieldError, UnprocessableError
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.chat.branches import StoredQuestion
from app.database.repositories.chat.sessions import NewSession
from app.database.repositories.turns.idempotency_keys import IdempotentRequest
from app.database.repositories.turns.turns import END_OF_BRANCH, TurnPlace
from app.graph.context_window import exceeds_context_window
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import Sampling
from app.services.limits.quotas import QuotaService, TurnBudget
from app.services.llm.catalog import CatalogModel, ModelCatalog

_PROMPT_OVERHEAD = 50
"""Maximum number of tokens that a provider counts in addition to the texts of a prompt."""
_MILLION = 1_000_000
_NO_SAMPLING = Sampling()


@dataclass(frozen=True, slots=True)
class QuestionBuilder:
    """Checks a request against the allowed models and limits, and builds the question.

    Every method that builds a question may raise `UnprocessableError`: the model is not allowed, `max_tokens` exceeds
    the limit, or the message does not fit the context window of any model.
    """

    catalog: ModelCatalog
    policy: ModelPolicy
    """Defaults for everything that a request leaves out."""
    quotas: QuotaService

    def in_session(
        self, user: Principal, session: UUID, request: MessageCreate, key: IdempotentRequest | None
    ) -> Question:
        """Build a question in a session, at the end of the active branch or where the request puts it."""
        policy = self._policy(request, request.message)
        session_models = self._session_models(request)
        budget = self._budget(user, request.message, request.context, policy, session_models)
        return Question(
            user,
            session,
            request.message,
            request.context or {},
            Presenter(turn_response),
            key,
            policy,
            session_models,
            budget,
            _place(request),
        )

    def another_answer(
        self,
        user: Principal,
        session: UUID,
        question: StoredQuestion,
        options: AnswerCreate,
        key: IdempotentRequest | None,
    ) -> Question:
        """Build a stored question again, which gets another answer."""
        policy = self._policy(options, question.content)
        session_models = self._session_models(options)
        budget = self._budget(user, question.content, question.meta, policy, session_models)
        return Question(
            user,
            session,
            question.content,
            question.meta,
            Presenter(turn_response),
            key,
            policy,
            session_models,
            budget,
            TurnPlace("another_answer", question.uuid),
        )

    def in_new_session(
        self, user: Principal, session: NewSession, request: SessionCreate, key: IdempotentRequest | None
    ) -> Question:
        """Build the first question of a new session from `initial_message`, which must be set."""
        assert request.initial_message is not None  # noqa: S101 - the caller has checked
        policy = self._policy(request, request.initial_message)
        budget = self._budget(user, request.initial_message, request.context, policy)
        presenter = Presenter(partial(session_with_turn, title=session.title), status_code=201)
        return Question(user, session, request.initial_message, {}, presenter, key, policy, budget=budget)

    def direct(self, user: Principal, request: ChatRequest, key: IdempotentRequest | None) -> Question:
        """Build a direct question."""
        policy = self._policy(request, request.message)
        budget = self._budget(user, request.message, request.context, policy)
        return Question(
            user, None, request.message, request.context or {}, Presenter(direct_response), key, policy, budget=budget
        )

    def check_model(self, model: str) -> None:
        """Check that a model may be requested.

        Raises:
            InvalidFieldError: it is not allowed.

        """
        if self.catalog.get(model) is None:
            raise InvalidFieldError("body.model", "unknown_model", "is not one of GET /models")

    def available_models(self) -> ModelList:
        """Return the models that a question may request, the default model first."""
        limit = self.policy.sampling.max_tokens
        assert limit is not None  # noqa: S101 - LLM_MAX_TOKENS always has a value
        return ModelList(
            models=[self._model_response(model, limit) for model in self.catalog.models],
            max_tokens=limit,
        )

    def _model_response(self, model: CatalogModel, max_tokens: int) -> ModelResponse:
        return ModelResponse(
            name=model.name,
            display_name=model.display_name or model.name,
            description=model.description,
            provider=model.provider,
            capabilities=list(model.capabilities),
            is_default=model.name == self.catalog.primary,
            is_fallback=model.name in self.catalog.fallbacks,
            context_window=model.context_window,
            max_output_tokens=min(max_tokens, model.max_output_tokens or max_tokens),
            prompt_price=model.prompt_price,
            completion_price=model.completion_price,
        )

    def _session_models(self, options: ModelOptions) -> tuple[str, ...]:
        """Return the models that the session may choose. Which one it chooses is known when the question is stored."""
        return tuple(model.name for model in self.catalog.models) if options.model is None else ()

    def _policy(self, options: ModelOptions, message: str) -> ModelPolicy | None:
        """Return the policy for the options of the request. None: the default policy."""
        policy = self._requested_policy(options)
        effective = policy or self.policy
        if exceeds_context_window(message, effective.instructions({}), effective):
            raise UnprocessableError("The message is too long for the model.", code="message_too_long")
        return policy

    def _requested_policy(self, options: ModelOptions) -> ModelPolicy | None:
        sampling = Sampling(
            options.temperature, options.top_p, options.frequency_penalty, options.presence_penalty, options.max_tokens
        )
        if options.model is None and sampling == _NO_SAMPLING:
            return None
        limit = self.policy.sampling.max_tokens
        if options.max_tokens is not None and limit is not None and options.max_tokens > limit:
            raise InvalidFieldError("body.max_tokens", "less_than_equal", f"must be at most {limit}")
        models = self.policy.models
        if options.model is not None:
            self.check_model(options.model)
            models = tuple(dict.fromkeys((options.model, *self.catalog.fallbacks)))
        return replace(self.policy, models=models, requested_sampling=sampling)

    def _budget(
        self,
        user: Principal,
        message: str,
        context: dict[str, Any] | None,
        policy: ModelPolicy | None,
        session_models: Sequence[str] = (),
    ) -> TurnBudget | None:
        """Return the upper bound of what an answer may use. None: no quota applies."""
        if not self.quotas.is_limited(user):
            return None
        policy = policy or self.policy
        return self.budget(user, policy.instructions(context or {}) + message, policy, session_models)

    def budget(
        self,
        user: Principal,
        prompt: str,
        policy: ModelPolicy,
        session_models: Sequence[str] = (),
        *,
        extra_tokens: int = 0,
    ) -> TurnBudget | None:
        """Return the upper bound of what an answer to a prompt may use. None: no quota applies.

        `extra_tokens` are those of a prompt besides its text.
        """
        if not self.quotas.is_limited(user):
            return None
        # Half a token per byte is the upper bound for any script; English needs half of it.
        question = len(prompt.encode()) // 2 + _PROMPT_OVERHEAD + extra_tokens
        models = {*policy.models, *session_models}
        answer = max(policy.sampling_of(model).max_tokens or 0 for model in models)
        return TurnBudget(
            tokens=question + answer,
            cost_usd=max(self._cost(model, question, answer) for model in models),
            prompt_price=max(self._cost(model, _MILLION, 0) for model in models) / _MILLION,
        )

    def _cost(self, model: str, prompt_tokens: int, completion_tokens: int) -> Decimal:
        return self.catalog.cost(model, prompt_tokens, completion_tokens) or Decimal(0)


def _place(request: MessageCreate) -> TurnPlace:
    if "parent_id" not in request.model_fields_set:
        return END_OF_BRANCH
    return TurnPlace("beginning") if request.parent_id is None else TurnPlace("after", request.parent_id)
