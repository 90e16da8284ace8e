"""Finish reasons of engines, and what they say of an answer."""

from typing import Final

_FILTERED: Final = frozenset(
    {
        "blocklist",
        "content_filter",
        "content_filtered",
        "guardrail_intervened",
        "image_safety",
        "prohibited_content",
        "recitation",
        "refusal",
        "safety",
        "sensitive",
        "spii",
    }
)
_INCOMPLETE: Final = frozenset(
    {
        "abort",
        "cancelled",
        "error",
        "function_call",
        "insufficient_system_resource",
        "malformed_function_call",
        "network_error",
        "other",
        "timeout",
        "tool_calls",
        "tool_use",
        "unexpected_tool_call",
    }
)
LENGTH: Final = "length"
"""Finish reason of an answer that the token limit ended."""
TOOL_CALLS: Final = "tool_calls"
"""Finish reason of an answer that asks the client to run tools."""
_LENGTH_NAMES: Final = frozenset({LENGTH, "max_length", "max_tokens", "model_context_window_exceeded", "model_length"})
_MAX_LENGTH: Final = 50

UNKNOWN: Final = "unknown"
"""Finish reason of an answer whose engine sent an empty one with its end."""


def read_finish_reason(value: object) -> str | None:
    """Return the finish reason in a document; "" if the engine sent an empty one, None if it sent none.

    Numbers and any text are accepted. Names of the token limit become `length`; other names stay as they are.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    reason = "".join(character for character in str(value) if character.isprintable()).strip()[:_MAX_LENGTH]
    return LENGTH if reason.lower() in _LENGTH_NAMES else reason


def is_filtered(reason: str) -> bool:
    """Return whether a content filter withheld the answer or ended it. Gemini appends its own name of the reason."""
    return reason.lower().partition(":")[0] in _FILTERED


def is_incomplete(reason: str) -> bool:
    """Return whether the answer is incomplete or not text."""
    return reason.lower() in _INCOMPLETE
