"""Correction of typing errors: which words of a query may be misspelled, and queries with their spelling variants.

All combinations of the variants of several words would be too many queries. So the variants are looked up word by word
first, in groups, and only groups that occur in a chunk of the index are combined.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Final, NamedTuple

from app.services.search.query import SearchQuery, SearchScope, conjunction

_MAX_CANDIDATES: Final = 8
"""Maximum number of words of which it is determined whether they occur at all."""
_MAX_ABSENT: Final = 5
"""Maximum number of words that do not occur. With more of them, nothing is found."""
_MIN_WORDS: Final = 3
"""Number of words that are corrected even if they occur: a typing error may be another word."""
_MAX_COMBINATIONS: Final = 64
"""Maximum number of queries for a chunk, those with the fewest corrections first."""
_ONE_CORRECTED, _SEVERAL_CORRECTED = 0.2, 0.1
"""Relevance of documents with a spelling variant of one word, and of several words."""


class VariantGroup(NamedTuple):
    """Some of the spelling variants of a word."""

    unit: int
    """Number of the word in the query."""
    query: str
    """Query for documents with one of the variants."""


def correctable_units(query: SearchQuery) -> list[int]:
    """Return the numbers of the words with spelling variants, the longest first.

    Variants of long words are more likely to be the intended words than those of short ones.
    """
    numbers = [number for number, unit in enumerate(query.units) if unit.variants()]
    return sorted(numbers, key=lambda number: -len(query.units[number].words[0]))[:_MAX_CANDIDATES]


@dataclass(frozen=True, slots=True)
class Correction:
    """Search for documents that match with spelling variants of some words of a query."""

    query: SearchQuery
    units: tuple[int, ...]
    """Numbers of the words whose variants are looked up."""

    @classmethod
    def of(cls, query: SearchQuery, absent: Collection[int]) -> "Correction | None":
        """Return the correction of a query. None: it can have no results.

        `absent`: correctable words that do not occur, all of which must be misspelled.
        """
        if len(absent) > _MAX_ABSENT:
            return None
        candidates = correctable_units(query)
        units = [number for number in candidates if number in absent]
        units += [number for number in candidates if number not in absent][: max(_MIN_WORDS - len(units), 0)]
        return cls(query, tuple(units)) if units else None

    @property
    def variant_count(self) -> int:
        """Number of spelling variants that are looked up in each chunk."""
        return sum(len(self.query.units[number].variants()) for number in self.units)

    def groups(self, prefix: str) -> list[VariantGroup]:
        """Return the variants to look up in a chunk of the index."""
        units = self.query.units
        return [VariantGroup(number, text) for number in self.units for text in units[number].corrected(prefix)]

    def queries(
        self, prefix: str, scope: SearchScope, *, found: Sequence[VariantGroup], absent: Collection[int]
    ) -> list[tuple[str, float]]:
        """Return queries, as `SearchQuery.ranked`, for documents that match with at least one spelling variant only.

        `found`: the groups that occur in the chunk. `absent`: the correctable words that do not occur in it.
        """
        operands = self.query.operands(prefix)
        groups: dict[int, list[str]] = {number: [] for number in self.units}
        for group in found:
            groups[group.unit].append(group.query)
        queries = []
        for corrected in islice(_combinations(groups, set(absent)), _MAX_COMBINATIONS):
            chosen = [corrected.get(number, operand) for number, operand in enumerate(operands)]
            # What the words match as entered has been found before, or is found with fewer corrections.
            excluded = [f"!{operands[number]}" for number in corrected]
            relevance = _ONE_CORRECTED if len(corrected) == 1 else _SEVERAL_CORRECTED
            queries.append((conjunction([*chosen, *excluded], prefix, scope), relevance))
        return queries


def _combinations(groups: Mapping[int, Sequence[str]], required: set[int]) -> Iterator[dict[int, str]]:
    """Yield each choice of one group for some of the words, the smallest choices first.

    `required`: words for which a group must be chosen.
    """
    subsets = sorted(product((False, True), repeat=len(groups)), key=sum)
    for subset in subsets[1:]:
        numbers = [number for number, is_chosen in zip(groups, subset, strict=True) if is_chosen]
        if not required.issubset(numbers):
            continue
        for choice in product(*(groups[number] for number in numbers)):
            yield dict(zip(numbers, choice, strict=True))
