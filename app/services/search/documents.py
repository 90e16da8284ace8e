"""Terms of a document as PostgreSQL's `tsvector` in text form.

Every lexeme begins with the owner and a chunk of the owner's documents, so that its posting list contains documents of
one user only, and a bounded number of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.services.search.normalization import normalize
from app.services.search.tokenizer import character_pairs, tokenize

CHUNK_SIZE: Final = 4096
"""Number of documents of a user whose posting lists are read together. A change requires indexing everything anew."""
MAX_INDEXED_CHARACTERS: Final = 200_000
"""Length of the part of a text that is indexed."""
MAX_WORD: Final = 64
"""Length at which words are cut off in the index."""
MIN_COMPOUND: Final = 9
"""Minimum length of a word whose parts are indexed."""
MIN_PART: Final = 4
"""Minimum length of a part of a word."""
WORD, PART, TITLE = "/", "~", "!"
"""Namespaces of lexemes: whole words, ends of long words, and the marker of titles."""

_MAX_POSITION = 16383  # limits of PostgreSQL (manual, 12.10)
_MAX_POSITIONS = 255
_MAX_BYTES = 600_000
"""Maximum size of a vector in bytes; PostgreSQL permits 1 MB."""
_MAX_LEXEMES = 20_000
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class DocumentTerms:
    """Terms of a text, independent of its owner."""

    words: Mapping[str, list[int]]
    """Positions by word, pair of characters, or symbol. Symbols have none."""
    parts: frozenset[str]
    """Ends of long words, for the search for parts of compounds."""
    is_title: bool

    def render(self, prefix: str) -> str:
        """Return the vector in text form, within the limits of PostgreSQL."""
        rendered: list[str] = [quote_lexeme(prefix + TITLE)] if self.is_title else []
        size = 0
        overhead = len(prefix) + 8
        for word, positions in self.words.items():
            size += overhead + len(word.encode()) + 2 * len(positions)
            if size > _MAX_BYTES or len(rendered) >= _MAX_LEXEMES:
                return " ".join(rendered)
            lexeme = quote_lexeme(f"{prefix}{WORD}{word}")
            rendered.append(f"{lexeme}:{','.join(map(str, positions))}" if positions else lexeme)
        for part in sorted(self.parts):
            size += overhead + len(part.encode())
            if size > _MAX_BYTES or len(rendered) >= _MAX_LEXEMES:
                break
            rendered.append(quote_lexeme(f"{prefix}{PART}{part}"))
        return " ".join(rendered)


def document_terms(text: str, *, is_title: bool) -> DocumentTerms:
    """Return the terms of the first `MAX_INDEXED_CHARACTERS` of a text."""
    words: dict[str, list[int]] = {}
    parts: set[str] = set()
    position = 0
    for kind, token, _, _ in tokenize(normalize(text[:MAX_INDEXED_CHARACTERS])):
        if kind == "symbol":
            # Without a position, so that markup between two words does not separate them.
            words.setdefault(token, [])
            continue
        for lexeme in character_pairs(token) if kind == "run" else (token[:MAX_WORD],):
            position += 1
            positions = words.setdefault(lexeme, [])
            if position <= _MAX_POSITION and len(positions) < _MAX_POSITIONS:
                positions.append(position)
        if kind == "word" and MIN_COMPOUND <= len(token) <= MAX_WORD and token.isalpha():
            parts.update(token[start:] for start in range(1, len(token) - MIN_PART + 1))
    return DocumentTerms(words, frozenset(parts), is_title)


def lexeme_prefix(user_id: int, chunk: int) -> str:
    """Return the beginning of every lexeme of a chunk. No such prefix is the beginning of another one."""
    return f"{_base36(user_id)}.{_base36(chunk)}"


def quote_lexeme(lexeme: str) -> str:
    """Return a lexeme as a quoted literal of the text forms of `tsvector` and `tsquery`."""
    escaped = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits
