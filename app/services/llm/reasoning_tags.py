"""Separation of reasoning in `<think>` tags at the beginning of an answer from the answer."""

from typing import Final

_TAGS: Final = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<|thinking|>": "<|/thinking|>",
    "[THINK]": "[/THINK]",
}
"""Beginnings of reasoning, and their ends."""


class ReasoningSeparator:
    """Takes the pieces of an answer, and separates them into text and reasoning.

    A tag may be split between pieces; a piece that may be the beginning of one is held back until the next. Only a tag
    at the very beginning, after white space, counts: later ones are a part of the text.
    """

    def __init__(self) -> None:
        self._held = ""
        self._close = ""
        self.is_text = False
        """Whether the text has begun, so that all further pieces are text."""

    def take(self, piece: str) -> tuple[str, str]:
        """Take the next piece, and return the text and the reasoning that are certain now."""
        if self.is_text:
            return piece, ""
        if self._close:
            return self._take_reasoning(piece)
        self._held += piece
        start = self._held.lstrip()
        for tag, close in _TAGS.items():
            if start.startswith(tag):
                self._close, self._held = close, ""
                return self._take_reasoning(start[len(tag) :])
        if any(tag.startswith(start) for tag in _TAGS):
            return "", ""
        self.is_text = True
        text, self._held = self._held, ""
        return text, ""

    def end(self) -> tuple[str, str]:
        """Return the text and the reasoning that were held back when the answer ended."""
        held, self._held = self._held, ""
        return ("", held) if self._close and not self.is_text else (held, "")

    def _take_reasoning(self, piece: str) -> tuple[str, str]:
        whole = self._held + piece
        reasoning, tag, text = whole.partition(self._close)
        if tag:
            self.is_text, self._held = True, ""
            return text, reasoning
        sizes = range(min(len(self._close) - 1, len(whole)), 0, -1)
        held = next((size for size in sizes if self._close.startswith(whole[-size:])), 0)
        self._held = whole[len(whole) - held :]
        return "", whole[: len(whole) - held]
