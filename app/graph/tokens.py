"""Counting tokens where no provider did. Tokenizers differ from model to model, and their tables are large."""

import math
import string
from collections.abc import Sequence

from app.graph.ports.chat_model import TokenCounts
from app.graph.ports.messages import PromptMessage

_CHARACTERS_PER_TOKEN = 4
"""Rule of thumb of the providers for English text; used only where a provider counts nothing, and marked so."""


def estimate_tokens(messages: Sequence[PromptMessage], text: str) -> TokenCounts:
    """Return about how many tokens a prompt and the text that answered it have."""
    prompt = sum(len(message["content"]) for message in messages)
    return TokenCounts(
        math.ceil(prompt / _CHARACTERS_PER_TOKEN), math.ceil(len(text) / _CHARACTERS_PER_TOKEN), is_estimated=True
    )


_LETTERS_AND_SPACE = (string.ascii_letters + string.whitespace).encode()
_ASCII = bytes(range(128))


def estimate_tokens_upper_bound(text: str) -> int:
    """Return about how many tokens a text has, rather too many than too few.

    Three letters a token, where English has four; a token for each digit and mark, as in figures and code; two for
    three bytes of anything else, which is two for a Chinese character and four for three Cyrillic letters.
    """
    data = text.encode(errors="replace")
    others = data.translate(None, _LETTERS_AND_SPACE)
    foreign = len(others.translate(None, _ASCII))
    return math.ceil((len(data) - len(others)) / 3 + (len(others) - foreign) + foreign * 2 / 3)
