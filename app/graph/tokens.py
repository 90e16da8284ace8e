"""Counting tokens where no provider did."""

import math
from collections.abc import Sequence

from app.graph.context import PromptMessage

_CHARACTERS_PER_TOKEN = 4
"""Rule of thumb of the providers for English text; used only where a provider counts nothing, and marked so."""


def estimate_tokens(messages: Sequence[PromptMessage], text: str) -> tuple[int, int]:
    """Return about how many tokens a prompt and the text that answered it have."""
    prompt = sum(len(message["content"]) for message in messages)
    return math.ceil(prompt / _CHARACTERS_PER_TOKEN), math.ceil(len(text) / _CHARACTERS_PER_TOKEN)
