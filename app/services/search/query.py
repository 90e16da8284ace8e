"""Search queries of users, and their translation to PostgreSQL's `tsquery` in text form.

Users' queries have no operators. All words must occur; text in quotation marks, and text without spaces such as
`re-open`, is a phrase. Nothing that a user enters is a syntax error.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from app.services.search.documents import MAX_WORD, MIN_PART, PART, TITLE, WORD, quote_lexeme
from app.services.search.normalization import normalize
from app.services.search.spelling import spelling_variants
from app.services.search.tokenizer import Token, character_pairs, tokenize

SearchScope = Literal["titles", "messages", "both"]
"""Which documents a search covers."""

MIN_PREFIX: Final = 3
"""Minimum length of a word that also matches longer words. The last word of a query matches them at any length."""
MAX_UNITS: Final = 32
"""Maximum number of words and phrases that a search uses; further ones are ignored."""
_MAX_EXPANDED = 8
"""Maximum number of words for which longer words and parts of words match."""
_EXACT, _STARTS, _SIMILAR = 1.0, 0.8, 0.6
"""Relevance of documents with the words as entered, words that begin with them, and parts of words."""
_VARIANTS_PER_QUERY = 64
"""Number of spelling variants in one `tsquery`. PostgreSQL takes quadratic time to prepare its lexemes."""
_UNITS = re.compile(r'["“”„«»]([^"“”„«»]*)["“”„«»]|([^\s"“”„«»]+)')


@dataclass(frozen=True, slots=True)
class Lexeme:
    """A lexeme to look up."""

    text: str
    is_prefix: bool = False

    def render(self, prefix: str, namespace: str = WORD) -> str:
        """Return the operand of a `tsquery`."""
        return quote_lexeme(f"{prefix}{namespace}{self.text}") + (":*" if self.is_prefix else "")


@dataclass(frozen=True, slots=True)
class Unit:
    """A word or a phrase of a query."""

    lexemes: tuple[Lexeme, ...]
    """Lexemes that must be adjacent, in this order."""
    symbols: tuple[str, ...] = ()
    """Symbols that must occur anywhere in the document."""
    is_word: bool = False
    """Whether it is one word without quotation marks, for which similar words match too."""
    is_last: bool = False
    words: tuple[str, ...] = ()
    """Words and runs of characters as entered, for highlighting."""

    def exact(self, prefix: str) -> str:
        """Return the `tsquery` for this unit exactly as entered."""
        phrase = [self.phrase(prefix)] if self.lexemes else []
        return " & ".join([*phrase, *(Lexeme(symbol).render(prefix) for symbol in self.symbols)])

    def phrase(self, prefix: str) -> str:
        """Return the `tsquery` for the adjacent lexemes, of which there is at least one."""
        return f"({' <-> '.join(lexeme.render(prefix) for lexeme in self.lexemes)})"

    def starts(self, prefix: str) -> str:
        """Return the `tsquery` for words that begin with the unit."""
        word = self._word
        if word is None or not (self.is_last or len(word) >= MIN_PREFIX):
            return self.exact(prefix)
        return Lexeme(word, is_prefix=True).render(prefix)

    def similar(self, prefix: str) -> str:
        """Return the `tsquery` for words that begin with the unit, or that contain it if they are long."""
        word = self._word
        if word is None or len(word) < MIN_PART:
            return self.starts(prefix)
        return f"({self.starts(prefix)} | {Lexeme(word, is_prefix=True).render(prefix, PART)})"

    def variants(self) -> frozenset[str]:
        """Return the spelling variants of the unit, if it is a word."""
        return spelling_variants(self._word or "")

    def corrected(self, prefix: str) -> list[str]:
        """Return `tsquery` texts which together match the spelling variants of the word."""
        lexemes = [Lexeme(variant).render(prefix) for variant in sorted(self.variants())]
        starts = range(0, len(lexemes), _VARIANTS_PER_QUERY)
        return [f"({' | '.join(lexemes[start : start + _VARIANTS_PER_QUERY])})" for start in starts]

    @property
    def _word(self) -> str | None:
        return self.lexemes[0].text if self.is_word else None


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """A parsed query of a user."""

    units: tuple[Unit, ...]
    """Empty: nothing matches."""

    def ranked(self, prefix: str, scope: SearchScope) -> list[tuple[str, float]]:
        """Return queries for the words, each with the relevance of what it matches.

        `prefix`: lexeme prefix of the chunk to search (see `documents.lexeme_prefix`). The last query matches all
        documents that one of them matches.
        """
        exact = [unit.exact(prefix) for unit in self.units]
        starts = self._expanded(exact, [unit.starts(prefix) for unit in self.units])
        ranked = ((exact, _EXACT), (starts, _STARTS), (self.operands(prefix), _SIMILAR))
        # Queries are equal if all words are in quotation marks or too short.
        texts = {conjunction(operands, prefix, scope): relevance for operands, relevance in reversed(ranked)}
        return list(reversed(texts.items()))

    def operands(self, prefix: str) -> list[str]:
        """Return the widest query for each unit, without spelling variants."""
        exact = [unit.exact(prefix) for unit in self.units]
        return self._expanded(exact, [unit.similar(prefix) for unit in self.units])

    def _expanded(self, exact: list[str], expanded: list[str]) -> list[str]:
        return [*expanded[:_MAX_EXPANDED], *exact[_MAX_EXPANDED:]]


def parse_query(text: str) -> SearchQuery:
    """Parse the query of a user. Every text is valid."""
    found: list[tuple[Sequence[Token], bool]] = []
    for match in _UNITS.finditer(text):
        tokens = list(tokenize(normalize(match[0])))
        if tokens:
            found.append((tokens, match[1] is not None))
    found = found[:MAX_UNITS]
    return SearchQuery(
        tuple(
            _unit(tokens, is_quoted=is_quoted, is_last=number == len(found))
            for number, (tokens, is_quoted) in enumerate(found, start=1)
        )
    )


def _unit(tokens: Sequence[Token], *, is_quoted: bool, is_last: bool) -> Unit:
    texts = [token for token in tokens if token.kind != "symbol"]
    symbols = tuple(dict.fromkeys(token.text for token in tokens if token.kind == "symbol"))
    lexemes: list[Lexeme] = []
    for number, token in enumerate(texts, start=1):
        is_end = number == len(texts)
        if token.kind == "run":
            pairs = character_pairs(token.text)
            # The last character alone is the end of a run in the document, too. At the end, the run may continue.
            lexemes.extend(map(Lexeme, pairs if not is_end else pairs[:-1]))
            if is_end and len(token.text) == 1:
                lexemes.append(Lexeme(token.text, is_prefix=True))
        else:
            word = token.text[:MAX_WORD]
            lexemes.append(Lexeme(word, is_prefix=is_end and is_last and not is_quoted and len(texts) > 1))
    is_word = len(texts) == 1 and texts[0].kind == "word" and not symbols and not is_quoted
    words = tuple(token.text for token in texts)
    return Unit(tuple(lexemes), symbols, is_word=is_word, is_last=is_last, words=words)


def conjunction(operands: Sequence[str], prefix: str, scope: SearchScope) -> str:
    """Return the query for the documents of a scope that match all operands."""
    marker = quote_lexeme(prefix + TITLE)
    restriction = {"titles": [marker], "messages": [f"!{marker}"], "both": []}[scope]
    return " & ".join([*operands, *restriction])
