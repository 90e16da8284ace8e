"""Builds questions from requests of this API: model, parameters, conversation, quota budget."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from app.chat.openai_api.answer_errors import context_length_error
from app.chat.openai_api.idempotency import completion_presenter
from app.chat.openai_api.message_schemas import RequestMessage
from app.chat.openai_api.schemas import ChatCompletionRequest, CompletionModel, CompletionModelList
from app.chat.turns.question import Question
from app.chat.turns.question_builder import QuestionBuilder
from app.core.content_limits import MAX_MESSAGE_LENGTH
from app.core.exceptions import InvalidFieldError, NotFoundError
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.turns.idempotency_keys import IdempotentRequest
from app.graph.context_window import exceed_context_window, prompt_tokens
from app.graph.model_policy import ModelPolicy
from app.graph.ports.chat_model import Sampling
from app.graph.ports.messages import ClientMessage, ModelMessage
from app.graph.prompts import client_prompt
from app.graph.tokens import image_tokens, message_text
from app.services.limits.quotas import TurnBudget

_MESSAGE_TOKENS: Final = 8
"""Maximum number of tokens that a provider counts for a message in addition to its text."""
_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_STATELESS_ONLY: Final = ("tools", "logprobs")
"""Parameters whose results a stored conversation has no place for."""


@dataclass(frozen=True, slots=True)
class CompletionQuestions:
    """Builds the questions of requests for chat completions, with the models and limits of the native API."""

    questions: QuestionBuilder

    def models(self) -> CompletionModelList:
        """Return the models that a request may name, the default one first."""
        return CompletionModelList(data=[_model(model.name) for model in self.questions.catalog.models])

    def model(self, name: str) -> CompletionModel:
        """Return one model.

        Raises:
            NotFoundError: there is no such model.

        """
        if self.questions.catalog.get(name) is None:
            raise NotFoundError("The model does not exist or you do not have access to it.", code="model_not_found")
        return _model(name)

    def context_window(self, model: str) -> int:
        """Return the context window of an allowed model, in tokens."""
        found = self.questions.catalog.get(model)
        assert found is not None  # noqa: S101 - the model of a question has been checked
        return found.context_window

    def build(
        self,
        user: Principal,
        request: ChatCompletionRequest,
        session: UUID | None,
        key: IdempotentRequest | None = None,
    ) -> Question:
        """Build the question of a request. With a session, the last message is stored as its next question.

        Raises:
            NotFoundError: there is no such model.
            BadRequestError: the conversation exceeds the context window of every model.
            InvalidFieldError: the model takes no images, or the request has something that a session cannot store.

        """
        policy = self._policy(request)
        self._check_images(request, policy)
        instructions, messages = _split_instructions(request.messages)
        if instructions:
            base = policy.instructions
            policy = replace(policy, instructions=lambda context: "\n\n".join([base(context), *instructions]))
        prompt = client_prompt(policy.instructions({}), messages)
        if exceed_context_window(prompt, policy):
            raise context_length_error(self.context_window(policy.models[0]), prompt_tokens(prompt))
        last = request.messages[-1]
        if session is not None:
            _check_storable(request)
        return Question(
            user,
            session,
            last.text,
            {},
            completion_presenter(policy.models[0]),
            key=key,
            policy=policy,
            budget=self._budget(user, prompt, policy),
            # In a session, one message continues the stored conversation; several are the conversation themselves.
            client_messages=None if session is not None and len(messages) == 1 else tuple(messages),
            fallback_response="",
        )

    def _policy(self, request: ChatCompletionRequest) -> ModelPolicy:
        policy = self.questions.policy
        limit = policy.sampling.max_tokens
        asked = request.token_limit
        sampling = Sampling(
            request.temperature,
            request.top_p,
            request.frequency_penalty,
            request.presence_penalty,
            # Editors ask for more than a deployment allows; the answer then ends with the finish reason `length`.
            min(asked, limit) if asked is not None and limit is not None else asked,
        )
        models = policy.models
        if request.model:
            self.model(request.model)
            models = tuple(dict.fromkeys((request.model, *self.questions.catalog.fallbacks)))
        return replace(
            policy,
            models=models,
            requested_sampling=sampling,
            options=request.engine_options,
        )

    def _budget(self, user: Principal, prompt: Sequence[ModelMessage], policy: ModelPolicy) -> TurnBudget | None:
        if not self.questions.quotas.is_limited(user):
            return None
        texts = [message_text(message) for message in prompt]
        extra = sum(map(image_tokens, prompt)) + _MESSAGE_TOKENS * len(prompt)
        return self.questions.budget(user, "".join([*texts, json.dumps(policy.options)]), policy, extra_tokens=extra)

    def _check_images(self, request: ChatCompletionRequest, policy: ModelPolicy) -> None:
        for number, message in enumerate(request.messages):
            if message.has_images and self.questions.catalog.accepts_images(policy.models[0]) is False:
                raise InvalidFieldError(
                    f"body.messages.{number}.content", "images_not_supported", "the model does not accept images"
                )


def _split_instructions(messages: Sequence[RequestMessage]) -> tuple[list[str], list[ClientMessage]]:
    """Return the texts of the system messages at the beginning, and the other messages."""
    first = next((at for at, message in enumerate(messages) if message.role not in _SYSTEM_ROLES), len(messages))
    texts = [text for message in messages[:first] if (text := message.text.strip())]
    return texts, [message.for_model() for message in messages[first:]]


def _check_storable(request: ChatCompletionRequest) -> None:
    last = request.messages[-1]
    field = f"body.messages.{len(request.messages) - 1}"
    if last.role != "user" or last.has_images or not last.text.strip():
        raise InvalidFieldError(field, "not_storable", "in a session, the last message must be a text of the user")
    if len(last.text) > MAX_MESSAGE_LENGTH:
        raise InvalidFieldError(field, "string_too_long", f"must have at most {MAX_MESSAGE_LENGTH} characters")
    options: dict[str, Any] = request.engine_options
    for name in _STATELESS_ONLY:
        if name in options:
            raise InvalidFieldError(f"body.{name}", "not_storable", "cannot be used with a session")


def _model(name: str) -> CompletionModel:
    return CompletionModel(id=name, created=0, owned_by="chat-bot-system")
