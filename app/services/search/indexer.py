"""Indexer of the search: turns queued texts into documents, in the worker and before a search of their owner."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.repositories.search import backfill, indexing, pending_texts
from app.database.repositories.search.indexing import NewDocument
from app.database.repositories.search.pending_texts import PendingText
from app.services.search.documents import (
    CHUNK_SIZE,
    MAX_INDEXED_CHARACTERS,
    DocumentTerms,
    document_terms,
    lexeme_prefix,
)

logger = logging.getLogger(__name__)

_BATCH_SIZE: Final = 200
_BACKFILL_SIZE: Final = 1000
_TITLES_PER_STATEMENT: Final = 20
_BATCH_TIMEOUT: Final = 10.0
"""Timeout of each statement in seconds."""
_RUN_SECONDS: Final = 20.0
"""Duration in seconds after which a run indexes no further batch."""


@dataclass(frozen=True, slots=True)
class SearchIndexer:
    """Indexes queued texts. Several processes may do so at the same time; each text is stored once."""

    database: Database

    async def index_all(self) -> int:
        """Index the queued texts of all users for at most `_RUN_SECONDS`; return their number.

        While the queue is empty, texts that were stored before the index existed are queued.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable.

        """
        deadline = time.monotonic() + _RUN_SECONDS
        indexed = 0
        while time.monotonic() < deadline:
            async with self.database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
                texts = await pending_texts.read_oldest(
                    connection, limit=_BATCH_SIZE, characters=MAX_INDEXED_CHARACTERS
                )
            if not texts:
                texts = await self._queue_existing_and_read()
            count = await self._index(texts, MAX_INDEXED_CHARACTERS) if texts else 0
            indexed += count
            # Without progress the texts are locked, or another worker indexes them.
            if not count:
                break
        return indexed

    async def index_given(self, ids: Sequence[int], *, characters: int) -> bool:
        """Index queued texts by their keys, the last ones first, up to `characters` in total; longer ones stay queued.

        Return False if some of these were locked, because another process was storing them.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable.

        """
        async with self.database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
            # One more, by which a text that does not fit is recognized.
            texts = await pending_texts.read(connection, ids, characters=characters + 1)
        selected: list[PendingText] = []
        rest = characters
        for text in reversed(texts):
            if len(text.text or "") <= rest:
                rest -= len(text.text or "")
                selected.append(text)
        return not selected or await self._index(selected[::-1], characters + 1) == len(selected)

    async def _queue_existing_and_read(self) -> list[PendingText]:
        async with self.database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
            if not await backfill.queue_existing(connection, limit=_BACKFILL_SIZE):
                return []
            return await pending_texts.read_oldest(connection, limit=_BATCH_SIZE, characters=MAX_INDEXED_CHARACTERS)

    async def _index(self, texts: Sequence[PendingText], characters: int) -> int:
        # In a thread: tokenizing a batch of long answers takes longer than other requests should wait.
        terms = await asyncio.to_thread(_terms_by_key, texts)
        try:
            return await self._store(texts, terms, characters)
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - any reason why PostgreSQL refuses a text
            if len(texts) == 1:
                # Without the text of the error, which may contain the text of the message.
                logger.error(  # noqa: TRY400
                    "text not indexed", extra={"key": texts[0].message_id, "error": type(error).__name__}
                )
                return await self._store(texts, {texts[0].id: document_terms("", is_title=False)}, characters)
        # One of the texts is the reason. The others must not wait for it.
        return sum([await self._index([text], characters) for text in texts])

    async def _store(self, texts: Sequence[PendingText], terms: Mapping[int, DocumentTerms], characters: int) -> int:
        counts = Counter(text.user_id for text in texts if text.id in terms and text.user_id is not None)
        async with self.database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
            last_numbers = await indexing.reserve_numbers(connection, counts) if counts else {}
        numbers = {user_id: last - counts[user_id] for user_id, last in last_numbers.items()}
        vectors = await asyncio.to_thread(_render, texts, terms, numbers)
        stored = 0
        for group in _lock_groups(texts):
            async with self.database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
                stored += await indexing.store(
                    connection,
                    [text.id for text in group if text.user_id in last_numbers],
                    {text.id: NewDocument(vectors[text.id], text.digest or "") for text in group if text.id in vectors},
                    [text.id for text in group if text.text is None],
                    characters=characters,
                )
        return stored


def _lock_groups(texts: Sequence[PendingText]) -> Iterator[Sequence[PendingText]]:
    """Yield the texts to store in one statement each.

    A statement locks the sessions of its titles, for which a turn that completes would wait. So it has a few of them.
    """
    titles = [text for text in texts if text.message_id is None]
    if messages := [text for text in texts if text.message_id is not None]:
        yield messages
    for start in range(0, len(titles), _TITLES_PER_STATEMENT):
        yield titles[start : start + _TITLES_PER_STATEMENT]


def _render(
    texts: Sequence[PendingText], terms: Mapping[int, DocumentTerms], next_numbers: Mapping[int, int]
) -> dict[int, str]:
    """Return the vector of each text whose owner has a number, in the order of the texts."""
    numbers = dict(next_numbers)
    documents: dict[int, str] = {}
    for text in texts:
        if text.id in terms and text.user_id in numbers:
            chunk = numbers[text.user_id] // CHUNK_SIZE
            numbers[text.user_id] += 1
            documents[text.id] = terms[text.id].render(lexeme_prefix(text.user_id, chunk))
    return documents


def _terms_by_key(texts: Sequence[PendingText]) -> dict[int, DocumentTerms]:
    """Return the terms of each text, once for each message or title, by the key of its last row in the queue."""
    newest = {(text.session_id, text.message_id): text for text in texts if text.text is not None}
    return {text.id: document_terms(text.text or "", is_title=text.message_id is None) for text in newest.values()}
