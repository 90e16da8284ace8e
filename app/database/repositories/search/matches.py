"""Search in the documents of a user."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    Double,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import ChatMessage, ChatSession, SearchDocument

_TITLE_WEIGHT: Final = 0.5
_NEWNESS_WEIGHT: Final = 0.5
"""Weight of the age: a new document gains so much, one of `_NEW_DAYS` half of it."""
_NEW_DAYS: Final = 30.0
_SECONDS_PER_DAY: Final = 86_400.0


class RankedQuery(NamedTuple):
    """A query in the text form of `tsquery`, and the relevance of the documents that it matches."""

    text: str
    relevance: float


@dataclass(frozen=True, slots=True)
class ChunkSearch:
    """Search in one chunk of the documents of a user."""

    number: int
    """Number of the chunk; the highest has the newest documents."""
    queries: Sequence[RankedQuery]
    """A document that matches several of them has the highest relevance."""
    after: "MatchPosition | None" = None
    """Position after which the results begin."""


class MatchPosition(NamedTuple):
    """Position of a match in the order of its chunk: by descending score and key."""

    score: float
    id: int


class Match(NamedTuple):
    """A document that matches, with the text that it was made from."""

    chunk: int
    id: int
    score: float
    session_uuid: UUID
    session_title: str
    is_active: bool
    message_uuid: UUID | None
    """None: the title matches."""
    role: Literal["user", "assistant"] | None
    status: str | None
    timestamp: datetime
    """Time of the message; for a title, of the creation of the session."""
    content: str | None
    """First characters of the message."""

    @property
    def position(self) -> MatchPosition:
        """Position of the match in its chunk."""
        return MatchPosition(self.score, self.id)


_CHUNKS = (
    func.unnest(
        bindparam("p_numbers", type_=ARRAY(Integer)),
        bindparam("p_after_scores", type_=ARRAY(Double)),
        bindparam("p_after_ids", type_=ARRAY(BigInteger)),
    )
    .table_valued(
        column("number", Integer), column("after_score", Double), column("after_id", BigInteger), name="chunks"
    )
    .render_derived()
)
_QUERIES = (
    func.unnest(
        bindparam("p_query_numbers", type_=ARRAY(Integer)),
        cast(bindparam("p_queries", type_=ARRAY(Text)), ARRAY(TSQUERY)),
        bindparam("p_relevances", type_=ARRAY(Double)),
    )
    .table_valued(column("number", Integer), column("query", TSQUERY), column("relevance", Double), name="queries")
    .render_derived()
)
# The index alone decides it, except for phrases: reading the vectors of long texts would take much longer.
_IS_MATCH = SearchDocument.terms.op("@@")(_QUERIES.c.query)


def _matches_statement() -> Select[Any]:
    limit = bindparam("p_limit", type_=Integer)
    age = func.extract("epoch", bindparam("p_now", type_=DateTime(timezone=True)) - SearchDocument.created_at)
    days = func.greatest(cast(age, Double) / _SECONDS_PER_DAY, 0.0)
    title = case((SearchDocument.title_of_id.is_not(None), _TITLE_WEIGHT), else_=0.0)
    score = cast(title, Double) + cast(literal(_NEWNESS_WEIGHT), Double) / (1.0 + days / _NEW_DAYS)
    documents = (
        select(
            SearchDocument.id,
            SearchDocument.session_id,
            SearchDocument.message_id,
            SearchDocument.created_at,
            score.label("score"),
        )
        .where(_IS_MATCH)
        .correlate(_QUERIES)
        .lateral("documents")
    )
    keys = (documents.c.id, documents.c.session_id, documents.c.message_id, documents.c.created_at)
    scored = (
        select(*keys, func.max(documents.c.score + _QUERIES.c.relevance).label("score"))
        .select_from(_QUERIES.join(documents, true()))
        .where(_QUERIES.c.number == _CHUNKS.c.number)
        .group_by(*keys)
        .correlate(_CHUNKS)
        .subquery("scored")
    )
    in_chunk = (
        select(scored)
        .where(
            or_(
                _CHUNKS.c.after_id.is_(None),
                tuple_(scored.c.score, scored.c.id) < tuple_(_CHUNKS.c.after_score, _CHUNKS.c.after_id),
            )
        )
        .order_by(scored.c.score.desc(), scored.c.id.desc())
        .limit(limit)
        .correlate(_CHUNKS)
        .lateral("in_chunk")
    )
    # A nested loop, which reads the next chunk only while fewer than `p_limit` matches have been found.
    found = (
        select(_CHUNKS.c.number, in_chunk).select_from(_CHUNKS.join(in_chunk, true())).limit(limit).subquery("found")
    )
    return (
        select(
            found.c.number,
            found.c.id,
            found.c.score,
            ChatSession.uuid,
            ChatSession.title,
            ChatSession.is_active,
            ChatMessage.uuid,
            ChatMessage.role,
            ChatMessage.status,
            func.coalesce(ChatMessage.updated_at, found.c.created_at).label("timestamp"),
            func.left(ChatMessage.content, bindparam("p_characters", type_=Integer)),
        )
        # The lexemes contain the owner already. This condition makes sure of it.
        .join(ChatSession, (ChatSession.id == found.c.session_id) & (ChatSession.user_id == bindparam("p_user_id")))
        .outerjoin(ChatMessage, ChatMessage.id == found.c.message_id)
        .order_by(found.c.number.desc(), found.c.score.desc(), found.c.id.desc())
    )


_MATCHES = _matches_statement()
# Materialized: with the limit alone, PostgreSQL would expect to reach it soon, and read the whole table, which contains
# the documents of all users, instead of the index. A chunk is read only while fewer than `p_limit` documents are found.
_SESSIONS = text("""
    SELECT DISTINCT found.session_id
    FROM (
        SELECT documents.session_id
        FROM unnest(CAST(:p_queries AS text[])) AS queries (query)
        CROSS JOIN LATERAL (
            WITH matching AS MATERIALIZED (
                SELECT session_id FROM search_documents WHERE terms @@ CAST(queries.query AS tsquery)
            )
            SELECT session_id FROM matching
        ) AS documents
        LIMIT :p_limit
    ) AS found
""").bindparams(bindparam("p_queries", type_=ARRAY(Text)))


async def find(
    connection: AsyncConnection,
    chunks: Sequence[ChunkSearch],
    *,
    user_id: int,
    now: datetime,
    limit: int,
    characters: int,
) -> list[Match]:
    """Return up to `limit` matches: those of the first chunk by descending score, then those of the next one.

    `now`: time from which the age of a document is measured, the same for all pages of a search. `characters`: maximum
    length of the returned content.
    """
    parameters = _chunk_parameters(chunks) | {
        "p_user_id": user_id,
        "p_now": now,
        "p_limit": limit,
        "p_characters": characters,
    }
    return [Match(*row) for row in await connection.execute(_MATCHES, parameters)]


async def find_sessions(
    connection: AsyncConnection | AsyncSession, chunks: Sequence[ChunkSearch], *, limit: int
) -> list[int]:
    """Return the internal keys of the sessions of up to `limit` matching documents, the newest chunks first."""
    queries = [query.text for chunk in chunks for query in chunk.queries]
    rows = await connection.execute(_SESSIONS, {"p_queries": queries, "p_limit": limit})
    return [row.session_id for row in rows]


def _chunk_parameters(chunks: Sequence[ChunkSearch]) -> dict[str, object]:
    return _query_parameters(chunks) | {
        "p_numbers": [chunk.number for chunk in chunks],
        "p_after_scores": [chunk.after.score if chunk.after else None for chunk in chunks],
        "p_after_ids": [chunk.after.id if chunk.after else None for chunk in chunks],
    }


def _query_parameters(chunks: Sequence[ChunkSearch]) -> dict[str, object]:
    queries = [(chunk.number, query) for chunk in chunks for query in chunk.queries]
    return {
        "p_query_numbers": [number for number, _ in queries],
        "p_queries": [query.text for _, query in queries],
        "p_relevances": [query.relevance for _, query in queries],
    }
