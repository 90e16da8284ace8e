"""Examination of the configured models: each is asked one question, plain and streamed."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from app.config import DEFAULT_PROVIDER, LlmSettings
from app.graph.ports.chat_model import (
    Completion,
    ModelError,
    ModelRequest,
    Sampling,
    StreamTimeouts,
    TurnOwner,
)
from app.graph.ports.messages import PromptMessage
from app.services.llm.catalog import CatalogModel, ModelCatalog
from app.services.llm.errors import ProviderStatusError
from app.services.llm.model_router import ModelRouter

_QUESTION: PromptMessage = {"role": "user", "content": "Reply with the word: yes"}
_NOBODY = TurnOwner(0, UUID(int=0))
"""Owner of the questions. It is never sent."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Outcome of one question."""

    model: str
    provider: str
    is_streamed: bool
    seconds: float
    completion: Completion | None
    error: ModelError | None

    def __str__(self) -> str:
        """Return one line for a terminal."""
        mode = "streamed" if self.is_streamed else "plain"
        if self.completion is None:
            outcome = f"failed: {self.error.code if self.error else 'no answer'}"
            if isinstance(cause := self.error and self.error.__cause__, ProviderStatusError):
                outcome += f", HTTP status {cause.status}"
        else:
            counts = self.completion.token_counts
            outcome = f"ok, finish reason {self.completion.finish_reason}"
            outcome += ", tokens not counted by the engine" if counts.is_estimated else ", tokens counted"
            outcome += ", with reasoning" if self.completion.reasoning else ""
            if "</think>" in self.completion.text:
                outcome += ", text contains </think>: set starts_with_reasoning"
        model = self.model if self.provider == DEFAULT_PROVIDER else f"{self.model} ({self.provider})"
        return f"{model}: {mode}: {outcome} ({self.seconds:.1f} s)"


async def examine(settings: LlmSettings, changes: dict[str, dict[str, str | None]]) -> AsyncIterator[Finding]:
    """Ask the models one after the other. `changes` receives the parameters that were adapted, by model.

    Raises:
        StartupError: no provider is configured.

    """
    client = ModelRouter.from_settings(settings)
    try:
        for model in ModelCatalog.from_settings(settings).models:
            for is_streamed in (False, True):
                yield await _ask(client, model, settings, is_streamed=is_streamed)
        changes |= client.parameter_changes
    finally:
        await client.close()


async def _ask(client: ModelRouter, model: CatalogModel, settings: LlmSettings, *, is_streamed: bool) -> Finding:
    # The parameters of a real question, because engines refuse some of them.
    temperature = settings.LLM_TEMPERATURE if model.temperature is None else model.temperature
    max_tokens = min(settings.LLM_MAX_TOKENS, model.max_output_tokens or settings.LLM_MAX_TOKENS)
    request = ModelRequest(model.name, [_QUESTION], Sampling(temperature=temperature, max_tokens=max_tokens), _NOBODY)
    seconds = model.attempt_timeout or settings.LLM_ATTEMPT_TIMEOUT
    pause = model.stream_pause or settings.LLM_STREAM_PAUSE
    timeouts = StreamTimeouts(seconds, pause, seconds, settings.LLM_REASONING_TIMEOUT)
    started = time.perf_counter()
    completion, failure = None, None
    try:
        if is_streamed:
            completion = await client.stream(request, lambda _text: None, timeouts=timeouts)
        else:
            completion = await client.complete(request, max_seconds=seconds)
    except ModelError as error:
        failure = error
    return Finding(model.name, model.provider, is_streamed, time.perf_counter() - started, completion, failure)
