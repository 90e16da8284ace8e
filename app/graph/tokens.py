"""Estimates of token counts.

There is no tokenizer: each model has its own, with large tables. The provider's counts are used where it reports any.
"""

import json
import math
import string
from collections.abc import Sequence

from app.graph.ports.chat_model import ModelTokenCounts
from app.graph.ports.messages import ModelMessage

_CHARACTERS_PER_TOKEN = 4
"""The providers' rule of thumb for English text."""
IMAGE_TOKENS = 1000
"""Estimated tokens of an image. Providers count from 85 to some 1 500, depending on size and model."""


def estimate_tokens(messages: Sequence[ModelMessage], text: str) -> ModelTokenCounts:
    """Estimate the tokens of a prompt and of the text that answered it."""
    prompt = sum(len(message_text(message)) / _CHARACTERS_PER_TOKEN + image_tokens(message) for message in messages)
    return ModelTokenCounts(math.ceil(prompt), math.ceil(len(text) / _CHARACTERS_PER_TOKEN), is_estimated=True)


def message_text(message: ModelMessage) -> str:
    """Return everything in a message that is text for the model, its tool calls included."""
    content = message["content"]
    if isinstance(content, list):
        content = "\n".join(part["text"] for part in content if part["type"] == "text")
    tool_calls = message.get("tool_calls")
    return f"{content or ''}{json.dumps(tool_calls)}" if tool_calls else content or ""


def image_tokens(message: ModelMessage) -> int:
    """Estimate the tokens of the images in a message."""
    content = message["content"]
    return IMAGE_TOKENS * sum(part["type"] != "text" for part in content) if isinstance(content, list) else 0


_LETTERS_AND_SPACE = (string.ascii_letters + string.whitespace).encode()
_ASCII = bytes(range(128))


def estimate_tokens_upper_bound(text: str) -> int:
    """Estimate the tokens of a text conservatively: rather too many than too few.

    Three letters count as a token (English has about four), each digit and punctuation mark as one, and three bytes of
    any other character as two: two tokens for a Chinese character, four for three Cyrillic letters.
    """
    data = text.encode(errors="replace")
    non_letters = data.translate(None, _LETTERS_AND_SPACE)
    non_ascii = len(non_letters.translate(None, _ASCII))
    return math.ceil((len(data) - len(non_letters)) / 3 + (len(non_letters) - non_ascii) + non_ascii * 2 / 3)
