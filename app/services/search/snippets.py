"""Snippets of search results: a part of the text around the matches, in pieces that match and pieces that do not."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from app.services.search.documents import MIN_COMPOUND, MIN_PART
from app.services.search.normalization import normalize, normalize_with_offsets
from app.services.search.query import SearchQuery, Unit
from app.services.search.spelling import spelling_variants
from app.services.search.tokenizer import Token, tokenize

SNIPPET_LENGTH: Final = 200
"""Maximum number of characters of a snippet, without ellipses."""
_BEFORE: Final = 60
"""Maximum number of characters before the first match."""
_BLOCK: Final = 1000
"""Number of characters that are examined at once."""
_MAX_BLOCKS: Final = 4
"""Number of blocks with matches among which the one with the most words of the query is chosen."""
_ELLIPSIS: Final = "…"
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class SnippetPart:
    """A piece of a snippet."""

    text: str
    is_match: bool


class _Span(NamedTuple):
    """A match in a normalized text, and the number of its unit in the query."""

    start: int
    end: int
    unit: int


def build_snippet(text: str, query: SearchQuery, *, is_corrected: bool = False) -> list[SnippetPart]:
    """Return the pieces of a snippet. Without a match it is the beginning of the text.

    `is_corrected`: whether spelling variants match.
    """
    start, end = _choose_range(text, query, is_corrected=is_corrected)
    shown = " ".join(text[start:end].split())
    normalized, offsets = normalize_with_offsets(shown)
    parts: list[SnippetPart] = []
    position = 0
    for span in _merged(_find_spans(normalized, query, is_corrected=is_corrected)):
        first, last = max(offsets[span.start][0], position), offsets[span.end - 1][1]
        if last <= first:
            continue
        if first > position:
            parts.append(SnippetPart(shown[position:first], is_match=False))
        parts.append(SnippetPart(shown[first:last], is_match=True))
        position = last
    if position < len(shown):
        parts.append(SnippetPart(shown[position:], is_match=False))
    if text[:start].strip():
        parts.insert(0, SnippetPart(_ELLIPSIS, is_match=False))
    if text[end:].strip():
        parts.append(SnippetPart(_ELLIPSIS, is_match=False))
    return parts


def _choose_range(text: str, query: SearchQuery, *, is_corrected: bool) -> tuple[int, int]:
    best: tuple[int, int] | None = None
    blocks_with_matches = 0
    for block_start, block_end in _blocks(text):
        block = text[block_start:block_end]
        if not is_corrected and not _may_match(normalize(block), query):
            continue
        normalized, offsets = normalize_with_offsets(block)
        spans = _find_spans(normalized, query, is_corrected=is_corrected)
        if not spans:
            continue
        count, first = _densest(spans)
        if best is None or count > best[0]:
            best = count, block_start + offsets[first.start][0]
        blocks_with_matches += 1
        if count == len(query.units) or blocks_with_matches == _MAX_BLOCKS:
            break
    if best is None:
        return 0, _cut_after(text, SNIPPET_LENGTH)
    start = _cut_before(text, best[1])
    return start, _cut_after(text, start + SNIPPET_LENGTH)


def _densest(spans: Sequence[_Span]) -> tuple[int, _Span]:
    """Return the match from which on a snippet contains the most words of the query, and their number."""
    counted = [
        (
            len({span.unit for span in spans if first.start <= span.start < first.start + SNIPPET_LENGTH - _BEFORE}),
            first,
        )
        for first in spans[:50]
    ]
    return max(counted, key=lambda each: (each[0], -each[1].start))


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = min(start + _BLOCK, len(text))
        if end < len(text):
            space = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
            end = space + 1 if space > start else end
        yield start, end
        start = end


def _cut_before(text: str, match: int) -> int:
    """Return where a snippet begins: after white space, if there is some."""
    start = max(match - _BEFORE, 0)
    if start == 0:
        return 0
    space = _SPACE.search(text, start, match)
    return space.end() if space else start


def _cut_after(text: str, limit: int) -> int:
    """Return where a snippet ends: before white space, if there is some."""
    if limit >= len(text):
        return len(text)
    spaces = [space.start() for space in _SPACE.finditer(text, limit - SNIPPET_LENGTH // 2, limit + 1)]
    return spaces[-1] if spaces else limit


def _may_match(normalized: str, query: SearchQuery) -> bool:
    return any(word in normalized for unit in query.units for word in (*unit.words[:1], *unit.symbols))


def _find_spans(normalized: str, query: SearchQuery, *, is_corrected: bool) -> list[_Span]:
    tokens = list(tokenize(normalized))
    spans = [
        _Span(start, end, number)
        for number, unit in enumerate(query.units)
        for start, end in _unit_spans(tokens, unit, is_corrected=is_corrected)
    ]
    return sorted(spans)


def _unit_spans(tokens: Sequence[Token], unit: Unit, *, is_corrected: bool) -> Iterator[tuple[int, int]]:
    for token in tokens:
        if token.kind == "symbol" and token.text in unit.symbols:
            yield token.start, token.end
    texts = [token for token in tokens if token.kind != "symbol"]
    if unit.is_word:
        word = unit.words[0]
        variants = spelling_variants(word) if is_corrected else frozenset()
        for token in texts:
            yield from _word_spans(token, word, variants)
    elif len(unit.words) == 1:
        for token in texts:
            yield from _run_spans(token, unit.words[0])
    elif unit.words:
        for position in range(len(texts) - len(unit.words) + 1):
            following = texts[position : position + len(unit.words)]
            if _is_phrase(following, unit):
                yield from ((token.start, token.end) for token in following)


def _word_spans(token: Token, word: str, variants: frozenset[str]) -> Iterator[tuple[int, int]]:
    if token.text in variants:
        yield token.start, token.end
        return
    if token.text.startswith(word):
        position = 0
    elif len(word) >= MIN_PART and len(token.text) >= MIN_COMPOUND:
        position = token.text.find(word)
    else:
        return
    if position >= 0:
        yield token.start + position, token.start + position + len(word)


def _run_spans(token: Token, word: str) -> Iterator[tuple[int, int]]:
    """Yield where a quoted word, or a run of characters without spaces, occurs in a token."""
    if token.kind == "word":
        if token.text == word:
            yield token.start, token.end
        return
    position = token.text.find(word)
    while position >= 0:
        yield token.start + position, token.start + position + len(word)
        position = token.text.find(word, position + len(word))


def _is_phrase(tokens: Sequence[Token], unit: Unit) -> bool:
    *words, last = unit.words
    last_token = tokens[-1]
    is_open = unit.lexemes[-1].is_prefix or last_token.kind == "run"
    is_last = last_token.text.startswith(last) if is_open else last_token.text == last
    return (
        is_last
        and tokens[0].text.endswith(unit.words[0])
        and all(token.text == word for token, word in zip(tokens[1:-1], words[1:], strict=True))
        and (tokens[0].kind == "run" or tokens[0].text == unit.words[0])
    )


def _merged(spans: Sequence[_Span]) -> Iterator[_Span]:
    """Yield the spans without overlaps."""
    current: _Span | None = None
    for span in spans:
        if current is None:
            current = span
        elif span.start < current.end:
            current = current._replace(end=max(current.end, span.end))
        else:
            yield current
            current = span
    if current is not None:
        yield current
