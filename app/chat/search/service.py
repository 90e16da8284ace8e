"""Search in the titles and messages of a user."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from app.chat.schemas.search import SearchHit, SearchPage, SearchParameters, SnippetPiece
from app.chat.search.chunks import corrected_chunks, exact_chunks
from app.chat.search.positions import SearchPosition, decode_position, encode_position, search_name
from app.core.cursors import CursorSigner
from app.core.exceptions import ServiceUnavailableError, StatementTimeoutError
from app.database.connection import REQUEST_TIMEOUT, Database, DatabaseConnection
from app.database.repositories.accounts.callers import Principal
from app.database.repositories.search import matches, pending_texts
from app.database.repositories.search.matches import ChunkSearch, Match
from app.database.repositories.search.pending_texts import UserState
from app.services.limits.admission import expensive_operation
from app.services.limits.concurrency import ConcurrencyLimiter
from app.services.search.correction import correctable_units
from app.services.search.documents import CHUNK_SIZE
from app.services.search.indexer import SearchIndexer
from app.services.search.query import SearchQuery, SearchScope, parse_query
from app.services.search.snippets import build_snippet

SEARCHES_PER_USER: Final = 2
"""Maximum number of concurrent searches of a user in one process."""
SEARCH_TIMEOUT: Final = 3.0
"""Timeout of the statements of a search in seconds."""
CORRECT_BELOW: Final = 5
"""If a search finds fewer matches, those of spelling variants follow."""
MAX_LISTED: Final = 10_000
"""Maximum number of matches that a list of sessions takes into account."""

_MAX_PENDING: Final = 20
_MAX_PENDING_CHARACTERS: Final = 50_000
"""Queued texts that a search indexes before it starts, so that it finds what has just been written."""
_LOCK_PAUSE: Final = 0.1
"""Pause in seconds if another process is just storing what the user has written."""
_SNIPPET_CHARACTERS: Final = 50_000
"""Length of the part of a message in which the snippet is searched for."""


@dataclass(frozen=True, slots=True)
class SearchService:
    """Searches the index of a user."""

    database: Database
    indexer: SearchIndexer
    limiter: ConcurrencyLimiter
    cursors: CursorSigner

    async def search(self, user: Principal, parameters: SearchParameters) -> SearchPage:
        """Return a page of matches, best first.

        Raises:
            InvalidFieldError: the cursor belongs to another search, or was changed.
            TooManyRequestsError: the user's earlier searches are still running.
            ServiceUnavailableError: the search took too long, or the process is overloaded.

        """
        name = search_name(user.uuid, parameters)
        position = decode_position(self.cursors, parameters.cursor, name)
        query = parse_query(parameters.q)
        if not query.units:
            return SearchPage(hits=[], next_cursor=None)
        async with self._slot(user.id):
            chunk_count = await self._prepare(user.id)
            found, following = await self._find(
                user.id, query, parameters.in_, chunk_count, position, limit=parameters.limit
            )
        hits = await asyncio.to_thread(_hits, found, query)
        cursor = encode_position(self.cursors, following, name) if following else None
        return SearchPage(hits=hits, next_cursor=cursor)

    async def find_sessions(self, user_id: int, text: str) -> list[int]:
        """Return the internal keys of the sessions whose title or messages match, of the newest `MAX_LISTED` matches.

        Raises:
            TooManyRequestsError, ServiceUnavailableError: as `search`.

        """
        query = parse_query(text)
        if not query.units:
            return []
        async with self._slot(user_id):
            chunk_count = await self._prepare(user_id)
            # The last query matches all that the others match.
            chunks = [
                replace(chunk, queries=chunk.queries[-1:])
                for chunk in exact_chunks(user_id, query, "both", chunk_count, SearchPosition(datetime.now(UTC)))
            ]
            async with self._connection() as connection:
                return await matches.find_sessions(connection, chunks, limit=MAX_LISTED)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[DatabaseConnection]:
        """Open a connection whose statements have `SEARCH_TIMEOUT` together."""
        try:
            async with self.database.autocommit() as connection:
                try:
                    async with asyncio.timeout(SEARCH_TIMEOUT):
                        yield connection
                except TimeoutError:
                    raise StatementTimeoutError from None
        except StatementTimeoutError:
            raise ServiceUnavailableError(
                "The search took too long. Use more specific words.", code="search_timeout"
            ) from None

    async def _prepare(self, user_id: int) -> int:
        """Index what the user has just written, and return the number of chunks."""
        state = await self._read_state(user_id)
        if state.pending:
            if not await self.indexer.index_given(state.pending, characters=_MAX_PENDING_CHARACTERS):
                await asyncio.sleep(_LOCK_PAUSE)
            state = await self._read_state(user_id)
        return -(-state.documents // CHUNK_SIZE)

    @asynccontextmanager
    async def _slot(self, user_id: int) -> AsyncIterator[None]:
        with self.limiter.slot(user_id):
            async with expensive_operation():
                yield

    async def _read_state(self, user_id: int) -> UserState:
        async with self.database.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            return await pending_texts.read_state(connection, user_id, limit=_MAX_PENDING)

    async def _find(
        self,
        user_id: int,
        query: SearchQuery,
        scope: SearchScope,
        chunk_count: int,
        position: SearchPosition,
        *,
        limit: int,
    ) -> tuple[list[tuple[Match, bool]], SearchPosition | None]:
        """Return the next matches, each with whether it needed a correction, and the position after them."""
        found: list[tuple[Match, bool]] = []
        async with self._connection() as connection:
            while True:
                async for chunks in _batches(connection, user_id, query, scope, chunk_count, position):
                    rest = limit - len(found)
                    rows = await _find_rows(connection, chunks, user_id, position.now, limit=rest + 1)
                    found.extend((row, position.is_corrected) for row in rows[:rest])
                    if rows[:rest]:
                        position = _after_row(position, rows[:rest])
                    if len(rows) > rest:
                        return found, position
                if position.is_corrected or position.shown >= CORRECT_BELOW or not correctable_units(query):
                    return found, None
                position = replace(position, is_corrected=True, chunk=None, after=None)


def new_search_limiter() -> ConcurrencyLimiter:
    """Return the limiter of concurrent searches per account."""
    return ConcurrencyLimiter(
        SEARCHES_PER_USER,
        code="too_many_searches",
        detail="Earlier searches of this account are still running.",
        retry_after=1,
    )


async def _batches(
    connection: DatabaseConnection,
    user_id: int,
    query: SearchQuery,
    scope: SearchScope,
    chunk_count: int,
    position: SearchPosition,
) -> AsyncIterator[list[ChunkSearch]]:
    """Yield the searches from a position on, the newest chunks first."""
    if not position.is_corrected:
        yield exact_chunks(user_id, query, scope, chunk_count, position)
        return
    async for chunks in corrected_chunks(connection, user_id, query, scope, chunk_count, position):
        yield chunks


def _after_row(position: SearchPosition, rows: Sequence[Match]) -> SearchPosition:
    """Return the position after the last of some results, which follow a position."""
    shown = position.shown if position.is_corrected else min(position.shown + len(rows), CORRECT_BELOW)
    return replace(position, shown=shown, chunk=rows[-1].chunk, after=rows[-1].position)


async def _find_rows(
    connection: DatabaseConnection, chunks: Sequence[ChunkSearch], user_id: int, now: datetime, *, limit: int
) -> list[Match]:
    if not chunks:
        return []
    return await matches.find(connection, chunks, user_id=user_id, now=now, limit=limit, characters=_SNIPPET_CHARACTERS)


def _hits(found: Sequence[tuple[Match, bool]], query: SearchQuery) -> list[SearchHit]:
    return [_hit(match, query, is_corrected=is_corrected) for match, is_corrected in found]


def _hit(match: Match, query: SearchQuery, *, is_corrected: bool) -> SearchHit:
    text = match.session_title if match.message_uuid is None else match.content or ""
    return SearchHit(
        kind="title" if match.message_uuid is None else "message",
        session_id=match.session_uuid,
        session_title=match.session_title,
        is_archived=not match.is_active,
        message_id=match.message_uuid,
        role=match.role,
        timestamp=match.timestamp,
        is_corrected=is_corrected,
        snippet=[
            SnippetPiece(text=part.text, is_match=part.is_match)
            for part in build_snippet(text, query, is_corrected=is_corrected)
        ],
    )
