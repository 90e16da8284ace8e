"""Normal form of text for the search index. Documents, queries and snippets all use this one."""

import re
from collections.abc import Iterable
from functools import lru_cache

from app.core.text import normal_form

_GROWTH = 3
"""Number of characters that one becomes, on average, in a text that is not made to take long: a Korean syllable."""
_SHORT = 1000
"""Length to which every text may grow. Some characters become 18."""

# Left out: accents (combining diacritical marks), Hebrew and Arabic vowel signs, the Arabic elongation sign, skin
# tones, variation selectors, and characters without width, except the zero width space, which separates words.
_IGNORED = (
    (0x00AD, 0x00AD),
    (0x0300, 0x036F),
    (0x0591, 0x05C7),
    (0x0640, 0x0640),
    (0x064B, 0x065F),
    (0x0670, 0x0670),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x200C, 0x200F),
    (0x2060, 0x2064),
    (0x20D0, 0x20FF),
    (0xFE00, 0xFE0F),
    (0xFE20, 0xFE2F),
    (0xFEFF, 0xFEFF),
    (0x1F3FB, 0x1F3FF),
)
_LETTERS_WITHOUT_DECOMPOSITION = {
    "ł": "l",
    "Ł": "l",
    "ø": "o",
    "Ø": "o",
    "đ": "d",
    "Đ": "d",
    "ð": "d",
    "Ð": "d",
    "þ": "th",
    "Þ": "th",
    "æ": "ae",
    "Æ": "ae",
    "œ": "oe",
    "Œ": "oe",
    "\N{LATIN SMALL LETTER DOTLESS I}": "i",
}
_TRANSLATION: dict[int, str | None] = {
    **{number: None for first, last in _IGNORED for number in range(first, last + 1)},
    **{ord(letter): plain for letter, plain in _LETTERS_WITHOUT_DECOMPOSITION.items()},
}

# A character together with the marks, vowels and consonants that may combine with it in the normal form.
_CLUSTER = re.compile(
    r".[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u0900-\u0903\u093a-\u094f"
    r"\u0981-\u0983\u09bc-\u09d7\u0a01-\u0a51\u0b3c-\u0b57\u0bbe-\u0bd7\u0c3c-\u0c56\u0cbc-\u0cd6\u0d3b-\u0d57"
    r"\u0dca-\u0ddf\u0e31-\u0e3a\u0e47-\u0e4e\u0f18-\u0f84\u102b-\u103e\u1160-\u11ff\u17b4-\u17d3\u1ab0-\u1aff"
    r"\u1dc0-\u1dff\u200c-\u200f\u20d0-\u20ff\u3099\u309a\uff9e\uff9f\ufe00-\ufe0f\ufe20-\ufe2f\U0001f3fb-\U0001f3ff]*",
    re.DOTALL,
)


def normalize(text: str) -> str:
    """Return the normal form of a text: compatible characters unified, lower case, without accents.

    It is bounded in length and time: no other thread runs while it is made.
    """
    if text.isascii():
        return text.lower()
    decomposed = normal_form("NFKD", text)[: max(_GROWTH * len(text), _SHORT)]
    plain = decomposed.translate(_TRANSLATION).casefold()
    return normal_form("NFKC", plain)


def normalize_with_offsets(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the normal form, and for each of its characters the range of the text that it comes from."""
    if text.isascii():
        return text.lower(), [(position, position + 1) for position in range(len(text))]
    parts: list[str] = []
    offsets: list[tuple[int, int]] = []
    for start, end, cluster in _clusters(text):
        plain = _normalize_cluster(cluster)
        parts.append(plain)
        offsets.extend([(start, end)] * len(plain))
    return "".join(parts), offsets


def _clusters(text: str) -> Iterable[tuple[int, int, str]]:
    return ((match.start(), match.end(), match[0]) for match in _CLUSTER.finditer(text))


@lru_cache(maxsize=4096)
def _normalize_cluster(cluster: str) -> str:
    return normalize(cluster)
