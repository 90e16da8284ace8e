"""Settings with the longest turns that are permitted."""

from app.config import Settings

TIMEOUTS = ("LLM_TURN_TIMEOUT", "LLM_REASONING_TIMEOUT", "LLM_STREAM_TIMEOUT")
MAX_SECONDS = 8100
"""A deadline of 3600 s, reasoning of another 3600 s, and 900 s of text."""


def longest_permitted(name: str) -> int:
    """Return the upper limit of a timeout."""
    return int(min(limit.le for limit in Settings.model_fields[name].metadata if hasattr(limit, "le")))


def with_longest_turns(settings: Settings) -> Settings:
    """Return the settings with the longest permitted timeouts."""
    return settings.model_copy(update={name: longest_permitted(name) for name in TIMEOUTS})
