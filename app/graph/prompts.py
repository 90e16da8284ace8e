"""The words the pipeline says by itself."""

from typing import Any, Literal

Tone = Literal["professional", "casual"]

_BASE = "You are a helpful assistant. Answer correctly, to the point, and in the language of the question."

_TONES: dict[Tone, str] = {
    "professional": "Write in a professional, courteous tone.",
    "casual": "Write in a relaxed, friendly tone.",
}

FALLBACK_RESPONSE = "Sorry, I could not answer just now because of a technical problem. Please try again in a moment."


def system_prompt(context: dict[str, Any]) -> str:
    """Return the instructions for the model. `context["tone"]` chooses the tone; an unknown one changes nothing."""
    tone = _TONES.get(context.get("tone"))  # type: ignore[arg-type] # whatever came: unknown tones find nothing
    return f"{_BASE} {tone}" if tone else _BASE
