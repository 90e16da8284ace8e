"""Spelling variants of a word: one letter is inserted, deleted, replaced or transposed with the next one.

They are looked up in the index. A list of the words in use would keep words of deleted messages.
"""

from functools import lru_cache
from typing import Final

MIN_LENGTH: Final = 4
"""Minimum length of a word whose variants are searched for."""
MAX_LENGTH: Final = 24
_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "абвгдежзийклмнопрстуфхцчшщъыьэюяіїєґ",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "אבגדהוזחטיךכלםמןנסעףפץצקרשת",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهويةىء",
)


@lru_cache(maxsize=256)
def spelling_variants(word: str) -> frozenset[str]:
    """Return the words at a distance of one inserted, deleted, replaced or transposed letter from a normalized word.

    Empty for short and very long words, and for words with digits. In scripts without an alphabet here, only deletions
    and transpositions are returned.
    """
    if not MIN_LENGTH <= len(word) <= MAX_LENGTH or not word.isalpha():
        return frozenset()
    splits = [(word[:position], word[position:]) for position in range(len(word) + 1)]
    variants = {left + right[1:] for left, right in splits if right}
    variants |= {left + right[1] + right[0] + right[2:] for left, right in splits if len(right) > 1}
    alphabet = next((letters for letters in _ALPHABETS if word[0] in letters), "")
    for letter in alphabet:
        variants |= {left + letter + right for left, right in splits}
        variants |= {left + letter + right[1:] for left, right in splits if right}
    return frozenset(variants - {word})
