"""Separation of reasoning in tags, such as `<think>`, at the beginning of an answer from the answer."""

import re
from typing import Final

_TAGS: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<|thinking|>": "<|/thinking|>",
    "[THINK]": "[/THINK]",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
    "◁think▷": "◁/think▷",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|channel|>analysis<|message|>": "<|end|><|start|>assistant<|channel|>final<|message|>",
}
"""Beginnings of reasoning, and their ends."""
_UNOPENED_END: Final = "</think>"
"""End of reasoning whose beginning is in the prompt template, as with vLLM and DeepSeek's models."""
_UNOPENED: Final = re.compile(r"(?P<reasoning>.*?)(?:\A|\n)[ \t]*</think>[ \t]*\n(?P<text>.*\S.*)", re.DOTALL)
"""A whole answer with such reasoning: the tag is alone on its line, and text follows."""


class ReasoningSeparator:
    """Takes the pieces of an answer, and separates them into text and reasoning.

    A tag may be split between pieces; a piece that may be the beginning of one is held back until the next. Only a tag
    at the very beginning, after white space, counts: later ones are a part of the text.
    """

    def __init__(self, *, starts_with_reasoning: bool = False) -> None:
        """`starts_with_reasoning`: the answer begins with reasoning up to `</think>` even without an opening tag."""
        self._space: list[str] = []
        """White space at the beginning, in pieces: as one text, each further piece would copy all of it."""
        self._held = ""
        self._close = ""
        self._unopened: list[str] | None = [] if starts_with_reasoning else None
        """Reasoning without an opening tag. Without a closing tag, it is the answer. None: there is none."""
        self.is_text = False
        """Whether the text has begun, so that all further pieces are text."""

    def take(self, piece: str) -> tuple[str, str]:
        """Take the next piece, and return the text and the reasoning that are certain now."""
        if self.is_text:
            return piece, ""
        if self._close:
            return self._take_reasoning(piece)
        start = self._held + piece if self._held else self._take_space(piece)
        for tag, close in _TAGS.items():
            if start.startswith(tag):
                self._close, self._held, self._unopened = close, "", None
                self._space.clear()
                return self._take_reasoning(start[len(tag) :])
        if any(tag.startswith(start) for tag in _TAGS):
            self._held = start
            return "", ""
        self._held = ""
        whole = self._end_space() + start
        if self._unopened is not None:
            self._close = _UNOPENED_END
            return self._take_reasoning(whole)
        self.is_text = True
        return whole, ""

    def end(self) -> tuple[str, str]:
        """Return the text and the reasoning that were held back when the answer ended."""
        held, self._held = self._end_space() + self._held, ""
        if not self._close or self.is_text:
            return held, ""
        if self._unopened is not None:
            self._unopened.append(held)
        return "", held

    def take_unopened(self) -> str:
        """Return the reasoning that had neither an opening nor a closing tag, which is the answer then."""
        unopened, self._unopened = self._unopened, None
        return "".join(unopened or ())

    def _take_space(self, piece: str) -> str:
        """Hold back the white space at the beginning of a piece, and return the rest."""
        start = piece.lstrip()
        self._space.append(piece[: len(piece) - len(start)])
        return start

    def _end_space(self) -> str:
        space = "".join(self._space)
        self._space.clear()
        return space

    def _take_reasoning(self, piece: str) -> tuple[str, str]:
        whole = self._held + piece
        reasoning, tag, text = whole.partition(self._close)
        if tag:
            self.is_text, self._held, self._unopened = True, "", None
            return text, reasoning
        sizes = range(min(len(self._close) - 1, len(whole)), 0, -1)
        held = next((size for size in sizes if self._close.startswith(whole[-size:])), 0)
        self._held = whole[len(whole) - held :]
        reasoning = whole[: len(whole) - held]
        if self._unopened is not None:
            self._unopened.append(reasoning)
        return "", reasoning


def separate_unopened(answer: str) -> tuple[str, str]:
    """Separate a whole answer that may begin with reasoning without an opening tag. Return its text and reasoning.

    Only a closing tag that is alone on its line, outside code, counts: an answer may be about such tags.
    """
    match = _UNOPENED.fullmatch(answer)
    if match is None or "```" in match["reasoning"] or any(tag in match["reasoning"] for tag in _TAGS):
        return answer, ""
    return match["text"], match["reasoning"]
