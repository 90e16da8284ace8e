"""Chunks of a user's index that a search reads, with the queries for each of them."""

from collections.abc import AsyncIterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

from app.chat.search.positions import SearchPosition
from app.database.connection import DatabaseConnection
from app.database.repositories.search import presence
from app.database.repositories.search.matches import ChunkSearch, RankedQuery
from app.services.search.correction import Correction, VariantGroup, correctable_units
from app.services.search.documents import lexeme_prefix
from app.services.search.query import SearchQuery, SearchScope

_MAX_CHUNKS: Final = 512
"""Number of chunks, the newest ones, that a search covers: two million documents of one user."""
_MAX_VARIANTS: Final = 20_000
"""Maximum number of spelling variants that are looked up, in all chunks together."""
_FIRST_BATCH: Final = 2
"""Number of chunks in which spelling variants are looked up at first."""
_PLACEHOLDER: Final = "\x01"
"""Stands for the lexeme prefix until the chunk is known. Tokens contain no control characters."""


def exact_chunks(
    user_id: int, query: SearchQuery, scope: SearchScope, chunk_count: int, position: SearchPosition
) -> list[ChunkSearch]:
    """Return the searches for the words of a query from a position on, the newest chunk first."""
    template = query.ranked(_PLACEHOLDER, scope)

    def search(number: int) -> ChunkSearch:
        prefix = lexeme_prefix(user_id, number)
        return ChunkSearch(number, [RankedQuery(_with_prefix(text, prefix), relevance) for text, relevance in template])

    return _after([search(number) for number in _numbers(chunk_count, _MAX_CHUNKS, position)], position)


async def corrected_chunks(
    connection: DatabaseConnection,
    user_id: int,
    query: SearchQuery,
    scope: SearchScope,
    chunk_count: int,
    position: SearchPosition,
) -> AsyncIterator[list[ChunkSearch]]:
    """Yield the searches with spelling variants, of the chunks in which they can have results, in growing batches.

    The variants of a batch are looked up when it is read, so that a search with many results looks up a few.
    """
    absent_by_chunk = await _absent_words(connection, user_id, query, chunk_count)
    absent = set.intersection(*absent_by_chunk.values()) if absent_by_chunk else set()
    correction = Correction.of(query, absent)
    if correction is None:
        return
    numbers = [
        number
        for number in _numbers(chunk_count, max(_MAX_VARIANTS // correction.variant_count, 1), position)
        # A word that is not corrected must occur.
        if absent_by_chunk[number].issubset(correction.units)
    ]
    size = _FIRST_BATCH
    while numbers:
        batch, numbers = numbers[:size], numbers[size:]
        absent_in_batch = {number: absent_by_chunk[number] for number in batch}
        chunks = []
        for number, variants in (await _find_variants(connection, user_id, correction, absent_in_batch)).items():
            prefix = lexeme_prefix(user_id, number)
            queries = correction.queries(prefix, scope, found=variants, absent=absent_by_chunk[number])
            if queries:
                chunks.append(ChunkSearch(number, [RankedQuery(*each) for each in queries]))
        yield _after(chunks, position)
        size *= 2


async def _absent_words(
    connection: DatabaseConnection, user_id: int, query: SearchQuery, chunk_count: int
) -> dict[int, set[int]]:
    """Return for each chunk which correctable words of a query do not occur in it."""
    units = correctable_units(query)
    fewest_variants = min(len(query.units[unit].variants()) for unit in units)
    numbers = range(chunk_count - 1, max(chunk_count - _MAX_VARIANTS // fewest_variants, 0) - 1, -1)
    operands = query.operands(_PLACEHOLDER)
    keys = [(number, unit) for number in numbers for unit in units]
    probes = [_with_prefix(operands[unit], lexeme_prefix(user_id, number)) for number, unit in keys]
    present = await presence.find_present(connection, probes)
    absent: dict[int, set[int]] = {number: set() for number in numbers}
    for index, (number, unit) in enumerate(keys):
        if index not in present:
            absent[number].add(unit)
    return absent


async def _find_variants(
    connection: DatabaseConnection,
    user_id: int,
    correction: Correction,
    absent_by_chunk: Mapping[int, AbstractSet[int]],
) -> dict[int, list[VariantGroup]]:
    """Return the groups of spelling variants that occur in each chunk in which there can be results.

    Word by word: if a word occurs in a chunk neither as entered nor misspelled, the next ones are not looked up there.
    """
    found: dict[int, list[VariantGroup]] = {number: [] for number in absent_by_chunk}
    template = correction.groups(_PLACEHOLDER)
    for unit in correction.units:
        groups = [
            (number, VariantGroup(unit, _with_prefix(group.query, lexeme_prefix(user_id, number))))
            for number in found
            for group in template
            if group.unit == unit
        ]
        present = await presence.find_present(connection, [group.query for _, group in groups])
        occurring: set[int] = set()
        for index in sorted(present):
            number, group = groups[index]
            found[number].append(group)
            occurring.add(number)
        found = {
            number: variants
            for number, variants in found.items()
            if number in occurring or unit not in absent_by_chunk[number]
        }
    return found


def _numbers(chunk_count: int, max_chunks: int, position: SearchPosition) -> range:
    newest = chunk_count - 1 if position.chunk is None else min(position.chunk, chunk_count - 1)
    return range(newest, max(chunk_count - max_chunks, 0) - 1, -1)


def _after(chunks: list[ChunkSearch], position: SearchPosition) -> list[ChunkSearch]:
    if chunks and position.chunk == chunks[0].number:
        chunks[0] = replace(chunks[0], after=position.after)
    return chunks


def _with_prefix(query: str, prefix: str) -> str:
    return query.replace(_PLACEHOLDER, prefix)
