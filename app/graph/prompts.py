"""What the pipeline says by itself, to the model and to the user."""

from collections.abc import Sequence
from typing import Any, Literal

from app.graph.context import PromptMessage

Tone = Literal["professional", "casual"]

_BASE = "You are a helpful assistant. Answer correctly, to the point, and in the language of the question."

_TONES: dict[Tone, str] = {
    "professional": "Write in a professional, courteous tone.",
    "casual": "Write in a relaxed, friendly tone.",
}

FALLBACK_RESPONSE = "Sorry, I could not answer just now because of a technical problem. Please try again in a moment."


def system_prompt(context: dict[str, Any]) -> str:
    """Return the instructions for the model. `context["tone"]` chooses the tone; an unknown one changes nothing."""
    tone = next((text for name, text in _TONES.items() if name == context.get("tone")), None)
    return f"{_BASE} {tone}" if tone else _BASE


def prompt(instructions: str, history: Sequence[PromptMessage], question: str) -> list[PromptMessage]:
    """Put together what the model gets. After the instructions, user and assistant take turns, the user first.

    Many engines refuse anything else, and a failed answer leaves two questions side by side: they become one message.
    """
    messages: list[PromptMessage] = [{"role": "system", "content": instructions}]
    for message in [*history, PromptMessage(role="user", content=question)]:
        last = messages[-1]
        if message["role"] == last["role"]:
            messages[-1] = {"role": last["role"], "content": f"{last['content']}\n\n{message['content']}"}
        elif message["role"] == "user" or len(messages) > 1:
            messages.append(message)
    return messages
