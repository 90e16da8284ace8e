"""Synthetic texts of many languages and scripts, with the frequencies of words of real text (Zipf's law)."""

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from app.services.search.documents import DocumentTerms, document_terms

COMMON_WORD: Final = "system"
"""Word of every fourth Latin text."""
FREQUENT_WORD: Final = "sich"
"""The most frequent word of Latin texts."""
LONG_WORD: Final = "fistra"
"""Word of 3 % of the texts that is long enough for the correction of typing errors."""
COMPOUND: Final = "krankenversicherung"
CHINESE_WORD: Final = "数据库"
_VOCABULARY: Final = 20_000
_LATIN = ("ba", "re", "ti", "no", "stra", "me", "lo", "ver", "sich", "un", "ga", "pre", "con", "da", "fi", "ro")
_SYLLABLES_PER_SCRIPT: Final = 16
_LETTERS = {"cyrillic": range(0x0430, 0x0450), "arabic": range(0x0627, 0x063B), "greek": range(0x03B1, 0x03C2)}
_CHARACTERS = {
    "chinese": [*range(0x4E00, 0x4E00 + 600)],
    "japanese": [*range(0x3042, 0x3094), *range(0x30A2, 0x30F4), *range(0x65E5, 0x65E5 + 100)],
    "thai": [*range(0x0E01, 0x0E2F), *range(0x0E40, 0x0E45)],
}
_SHARES = {"latin": 60, "cyrillic": 8, "arabic": 4, "greek": 2, "chinese": 14, "japanese": 8, "thai": 4}
"""Percentages of the texts."""
_COMMON_SHARE: Final = 0.25
_COMPOUND_SHARE: Final = 0.001
_CHINESE_WORD_EVERY: Final = 20


class SampleText(NamedTuple):
    """A text, and its terms."""

    text: str
    terms: DocumentTerms


def sample_texts(count: int, seed: int = 1) -> list[SampleText]:
    """Return texts of 8 to 15 words, always the same ones."""
    source = random.Random(seed)  # noqa: S311 - not a secret
    syllables = {"latin": list(_LATIN)} | {script: _syllables(source, letters) for script, letters in _LETTERS.items()}
    vocabularies = {script: _vocabulary(source, parts) for script, parts in syllables.items()}
    weights = list(accumulate(1 / rank for rank in range(1, _VOCABULARY + 1)))
    texts = []
    for number, script in enumerate(source.choices(list(_SHARES), list(_SHARES.values()), k=count)):
        if script in vocabularies:
            text = _spaced_text(source, script, vocabularies[script], weights)
        else:
            text = _unspaced_text(source, script, number)
        texts.append(SampleText(text, document_terms(text, is_title=False)))
    return texts


def misspell(word: str) -> str:
    """Return a word without its last letter but one."""
    return word[:-2] + word[-1]


def _syllables(source: random.Random, letters: Sequence[int]) -> list[str]:
    return ["".join(map(chr, source.choices(letters, k=2))) for _ in range(_SYLLABLES_PER_SCRIPT)]


def _vocabulary(source: random.Random, syllables: Sequence[str]) -> list[str]:
    words: dict[str, None] = {}
    tries = 0
    while len(words) < _VOCABULARY:
        # Short words first: they are the frequent ones.
        length = min(1 + tries // 100, source.choice((2, 2, 3, 3, 4, 5)))
        words["".join(source.choices(syllables, k=length))] = None
        tries += 1
    return list(words)


def _spaced_text(source: random.Random, script: str, words: Sequence[str], weights: Sequence[float]) -> str:
    chosen = source.choices(words, cum_weights=weights, k=source.randint(8, 15))
    if script == "latin":
        roll = source.random()
        if roll < _COMMON_SHARE:
            chosen[-1] = COMMON_WORD
        elif roll < _COMMON_SHARE + _COMPOUND_SHARE:
            chosen[-1] = COMPOUND
    return " ".join(chosen).capitalize() + "."


def _unspaced_text(source: random.Random, script: str, number: int) -> str:
    text = "".join(map(chr, source.choices(_CHARACTERS[script], k=source.randint(15, 30))))
    if script == "chinese" and number % _CHINESE_WORD_EVERY == 0:
        text = text[:5] + CHINESE_WORD + text[5:]
    return text
