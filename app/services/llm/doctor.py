"""Examination of the configured models: each is asked one question, plain and streamed."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from app.config import LlmSettings
from app.graph.ports.chat_model import (
    Completion,
    ModelError,
    ModelRequest,
    Sampling,
    StreamTimeouts,
    TurnOwner,
)
from app.graph.ports.messages import PromptMessage
from app.services.llm.catalog import ModelCatalog
from app.services.llm.errors import ProviderStatusError
from app.services.llm.openai import OpenAIChatModel

_QUESTION: PromptMessage = {"role": "user", "content": "Reply with the word: yes"}
_NOBODY = TurnOwner(0, UUID(int=0))
"""Owner of the questions. It is never sent."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Outcome of one question."""

    model: str
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
        return f"{self.model}: {mode}: {outcome} ({self.seconds:.1f} s)"


async def examine(settings: LlmSettings, changes: dict[str, dict[str, str | None]]) -> AsyncIterator[Finding]:
    """Ask the models one after the other. `changes` receives the parameters that were adapted, by model.

    Raises:
        StartupError: no provider is configured.

    """
    client = OpenAIChatModel.from_settings(settings)
    try:
        for model in ModelCatalog.from_settings(settings).models:
            for is_streamed in (False, True):
                yield await _ask(client, model.name, settings, is_streamed=is_streamed)
        changes |= client.parameter_changes.by_model
    finally:
        await client.close()


async def _ask(client: OpenAIChatModel, model: str, settings: LlmSettings, *, is_streamed: bool) -> Finding:
    # The parameters of a real question, because engines refuse some of them.
    sampling = Sampling(temperature=settings.LLM_TEMPERATURE, max_tokens=settings.LLM_MAX_TOKENS)
    request = ModelRequest(model, [_QUESTION], sampling, _NOBODY)
    seconds = settings.LLM_ATTEMPT_TIMEOUT
    timeouts = StreamTimeouts(seconds, settings.LLM_STREAM_PAUSE, seconds, settings.LLM_REASONING_TIMEOUT)
    started = time.perf_counter()
    completion, failure = None, None
    try:
        if is_streamed:
            completion = await client.stream(request, lambda _text: None, timeouts=timeouts)
        else:
            completion = await client.complete(request, max_seconds=seconds)
    except ModelError as error:
        failure = error
    return Finding(model, is_streamed, time.perf_counter() - started, completion, failure)
