"""Indexer of the search: turns queued texts into documents, in the worker and before a search of their owner."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.repositories.search import indexing
from app.database.repositories.search.indexing import PendingText
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
                texts = (
                    await indexing.read_oldest(connection, limit=_BATCH_SIZE, characters=MAX_INDEXED_CHARACTERS)
                    or await self._queue_existing_and_read()
                )
            count = await self._index(texts) if texts else 0
            indexed += count
            # Without progress the texts are locked, or another worker indexes them.
            if not count:
                break
        return indexed

    async def index_given(self, ids: Sequence[int], *, characters: int) -> None:
        """Index queued texts by their keys, until they have `characters` in total. The worker indexes the others.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable.

        """
        async with self.database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
            texts = await indexing.read(connection, ids, characters=characters)
        selected: list[PendingText] = []
        for text in reversed(texts):
            characters -= len(text.text or "")
            if characters < 0:
                break
            selected.append(text)
        if selected:
            await self._index(selected)

    async def _queue_existing_and_read(self) -> list[PendingText]:
        async with self.database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
            if not await indexing.queue_existing(connection, limit=_BACKFILL_SIZE):
                return []
            return await indexing.read_oldest(connection, limit=_BATCH_SIZE, characters=MAX_INDEXED_CHARACTERS)

    async def _index(self, texts: Sequence[PendingText]) -> int:
        # In a thread: tokenizing a batch of long answers takes longer than other requests should wait.
        terms = await asyncio.to_thread(_terms_by_key, texts)
        try:
            return await self._store(texts, terms)
        except DatabaseUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - any reason why PostgreSQL refuses a text
            if len(texts) == 1:
                # Without the text of the error, which may contain the text of the message.
                logger.error(  # noqa: TRY400
                    "text not indexed", extra={"key": texts[0].message_id, "error": type(error).__name__}
                )
                return await self._store(texts, {texts[0].id: document_terms("", is_title=False)})
        # One of the texts is the reason. The others must not wait for it.
        return sum([await self._index([text]) for text in texts])

    async def _store(self, texts: Sequence[PendingText], terms: dict[int, DocumentTerms]) -> int:
        counts = Counter(text.user_id for text in texts if text.id in terms and text.user_id is not None)
        async with self.database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
            last_numbers = await indexing.reserve_numbers(connection, counts) if counts else {}
        documents: dict[int, str] = {}
        for text in texts:
            if text.id in terms and text.user_id in last_numbers:
                last_numbers[text.user_id] -= 1
                chunk = last_numbers[text.user_id] // CHUNK_SIZE
                documents[text.id] = terms[text.id].render(lexeme_prefix(text.user_id, chunk))
        async with self.database.autocommit(max_seconds=_BATCH_TIMEOUT) as connection:
            return await indexing.store(
                connection,
                [text.id for text in texts if text.user_id in last_numbers],
                documents,
                [text.id for text in texts if text.text is None],
            )


def _terms_by_key(texts: Sequence[PendingText]) -> dict[int, DocumentTerms]:
    """Return the terms of each text, once for each message or title, by the key of its last row in the queue."""
    newest = {(text.session_id, text.message_id): text for text in texts if text.text is not None}
    return {text.id: document_terms(text.text or "", is_title=text.message_id is None) for text in newest.values()}
