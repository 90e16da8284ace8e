"""Token counts as engines report them: in one document, or in parts."""

import math
from typing import Any, Final

from app.graph.ports.chat_model import ModelTokenCounts

_MAX_COUNT: Final = 10_000_000
"""Largest plausible count: no context window is larger. The smallest is 1: prompts and answers are not empty."""


class ReportedUsage:
    """Collects the counts of one answer. Engines that report them repeatedly count up, so the highest are used."""

    def __init__(self) -> None:
        self._prompt = 0
        self._completion = 0

    def take(self, document: dict[str, Any], choice: dict[str, Any] | None = None) -> None:
        """Take the counts in a document, if there are any. Some engines put them into the choice."""
        for holder in (document, choice, document.get("x_groq")):
            if isinstance(holder, dict) and isinstance(usage := holder.get("usage"), dict):
                self._prompt = max(self._prompt, _count(usage.get("prompt_tokens")))
                self._completion = max(self._completion, _count(usage.get("completion_tokens")))

    @property
    def token_counts(self) -> ModelTokenCounts | None:
        """The counts for the ledger. None: one of them is missing or implausible."""
        if not self._prompt or not self._completion:
            return None
        return ModelTokenCounts(self._prompt, self._completion)

    def completed_by(self, estimate: ModelTokenCounts) -> ModelTokenCounts:
        """Return the counts for the ledger, with those of an estimate where they are missing."""
        return self.token_counts or ModelTokenCounts(
            self._prompt or estimate.prompt_tokens, self._completion or estimate.completion_tokens, is_estimated=True
        )


def _count(value: object) -> int:
    """Return a count; 0 if it is missing or implausible."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return int(value) if 1 <= value <= _MAX_COUNT and value == int(value) else 0
