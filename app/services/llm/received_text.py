"""Text that arrives in pieces, without characters that cannot be stored."""

from typing import Final

from app.services.llm.documents import remove_unstorable

_FIRST_HIGH_SURROGATE: Final = "\ud800"
_LAST_HIGH_SURROGATE: Final = "\udbff"
"""Range of the first halves of surrogate pairs."""


class ReceivedText:
    """Collects the pieces of a text. Surrogate pairs that an engine split between two pieces are joined."""

    def __init__(self, max_length: int | None = None) -> None:
        """`max_length`: maximum number of characters that are kept; None: all of them."""
        self._pieces: list[str] = []
        self._remaining = max_length
        self._has_removed_characters = False
        self._high_surrogate = ""

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._pieces)

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been received."""
        return not self._pieces

    @property
    def is_repaired(self) -> bool:
        """Whether the text differs from what the engine sent."""
        return self._has_removed_characters or self._high_surrogate != ""

    def add(self, piece: str) -> str:
        """Take the next piece, which is not empty, and return what is added to the text."""
        # The first half of a surrogate pair is held back until the second arrives.
        if self._high_surrogate or _FIRST_HIGH_SURROGATE <= piece[-1] <= _LAST_HIGH_SURROGATE:
            piece = (self._high_surrogate + piece).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
            self._high_surrogate = piece[-1] if _FIRST_HIGH_SURROGATE <= piece[-1] <= _LAST_HIGH_SURROGATE else ""
            piece = piece.removesuffix(self._high_surrogate)
        text = remove_unstorable(piece)
        if text != piece:
            self._has_removed_characters = True
        if self._remaining is not None:
            text = text[: self._remaining]
            self._remaining -= len(text)
        self._pieces.append(text)
        return text

    def end(self) -> str:
        """Return the replacement of an unpaired surrogate at the end of the text."""
        if not self._high_surrogate:
            return ""
        self._has_removed_characters, self._high_surrogate = True, ""
        self._pieces.append("?")
        return "?"
