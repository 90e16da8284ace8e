"""Tokenizer: words, runs of scripts that are written without spaces, and symbols."""

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, NamedTuple

# Chinese, Japanese, Korean, Thai, Lao, Tibetan, Burmese and Khmer. Their text is indexed by pairs of characters.
_UNSPACED = (
    r"\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ebd\u0ec0-\u0ecd\u0edc-\u0edf\u0f40-\u0fbc\u1000-\u103f\u1050-\u109f"
    r"\u1780-\u17d3\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    r"\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\U00020000-\U0003ffff"
)


def _combining_marks() -> str:
    # `\w` matches no combining marks, but vowels of Indian scripts are such marks.
    return "".join(
        character
        for character in map(chr, range(0x0483, 0x1DC0))
        if unicodedata.category(character) in {"Mn", "Mc"} and not re.match(f"[{_UNSPACED}]", character)
    )


_TOKEN = re.compile(
    rf"(?P<run>[{_UNSPACED}]+)|(?P<word>(?:[^\W_{_UNSPACED}]|[{_combining_marks()}])+)"
    rf"|(?P<symbol>[%_+#$&@*=<>|~^\\/]|[^\W\x00-\x7f]|[^\w\s\x00-\x7f])"
)

# Cn: characters that are newer than the tables of this Python version, which are mostly emoji.
_SYMBOL_CATEGORIES = frozenset({"Sc", "Sk", "Sm", "So", "Cn"})

TokenKind = Literal["word", "run", "symbol"]


class Token(NamedTuple):
    """A token, and its range in the normalized text."""

    kind: TokenKind
    text: str
    start: int
    end: int


def tokenize(normalized: str) -> Iterator[Token]:
    """Yield the tokens of a normalized text in their order. Punctuation and white space are left out."""
    for match in _TOKEN.finditer(normalized):
        kind: TokenKind = match.lastgroup  # type: ignore[assignment]  # the groups have the names of the kinds
        text = match[0]
        if kind == "symbol" and not text.isascii() and unicodedata.category(text) not in _SYMBOL_CATEGORIES:
            continue
        yield Token(kind, text, match.start(), match.end())


def character_pairs(run: str) -> list[str]:
    """Return the lexemes of a run: each pair of adjacent characters, and the last character alone.

    There is a lexeme for each character that starts with it, so that a single character is found by prefix.
    """
    return [run[position : position + 2] for position in range(len(run))]
