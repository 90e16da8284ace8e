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
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import TSQUERY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from app.database.models import ChatMessage, ChatSession, SearchDocument

MatchQuality = Literal["exact", "similar", "corrected"]
"""How well a document matches: the words as entered, longer words or parts of words, or spelling variants."""

_TITLE_WEIGHT: Final = 0.5
_ADJACENT, _EXACT, _STARTS, _SIMILAR, _CORRECTED = 1.2, 1.0, 0.8, 0.6, 0.2
_NEWNESS: Final = 0.5
"""Weight of the age: a new document gains so much, one of `_NEW_DAYS` half of it."""
_NEW_DAYS: Final = 30.0
_SECONDS_PER_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class ChunkSearch:
    """Queries for one chunk of the documents of a user, in the text form of `tsquery`."""

    number: int
    """Number of the chunk; the highest has the newest documents."""
    matching: str
    """Documents to find."""
    excluded: str | None
    """Documents to leave out, among these. None: none."""
    adjacent: str
    exact: str
    starts: str
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
    created_at: datetime
    content: str | None
    """First characters of the message."""

    @property
    def position(self) -> MatchPosition:
        """Position of the match in its chunk."""
        return MatchPosition(self.score, self.id)


_TEXTS = ("matching", "excluded", "adjacent", "exact", "starts")
_CHUNKS = (
    func.unnest(
        bindparam("p_numbers", type_=ARRAY(Integer)),
        # Converted here, because a conversion in a condition would be repeated for each document.
        *(cast(bindparam(f"p_{name}", type_=ARRAY(Text)), ARRAY(TSQUERY)) for name in _TEXTS),
        bindparam("p_after_scores", type_=ARRAY(Double)),
        bindparam("p_after_ids", type_=ARRAY(BigInteger)),
    )
    .table_valued(
        column("number", Integer),
        *(column(name, TSQUERY) for name in _TEXTS),
        column("after_score", Double),
        column("after_id", BigInteger),
        name="chunks",
    )
    .render_derived()
)


def _matches_statement() -> Select[Any]:
    limit = bindparam("p_limit", type_=Integer)

    def matches(name: str) -> Any:  # noqa: ANN401 - an operator of PostgreSQL
        return SearchDocument.terms.op("@@")(_CHUNKS.c[name])

    age = func.extract("epoch", bindparam("p_now", type_=DateTime(timezone=True)) - SearchDocument.created_at)
    days = func.greatest(cast(age, Double) / _SECONDS_PER_DAY, 0.0)
    relevance = case(
        (_CHUNKS.c.excluded.is_not(None), _CORRECTED),
        (matches("adjacent"), _ADJACENT),
        (matches("exact"), _EXACT),
        (matches("starts"), _STARTS),
        else_=_SIMILAR,
    )
    title = case((SearchDocument.title_of_id.is_not(None), _TITLE_WEIGHT), else_=0.0)
    score = cast(relevance + title, Double) + cast(literal(_NEWNESS), Double) / (1.0 + days / _NEW_DAYS)
    scored = (
        select(
            SearchDocument.id,
            SearchDocument.session_id,
            SearchDocument.message_id,
            SearchDocument.created_at,
            score.label("score"),
        )
        .where(matches("matching"), or_(_CHUNKS.c.excluded.is_(None), ~matches("excluded")))
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
            found.c.created_at,
            func.left(ChatMessage.content, bindparam("p_characters", type_=Integer)),
        )
        # The lexemes contain the owner already. This condition makes sure of it.
        .join(ChatSession, (ChatSession.id == found.c.session_id) & (ChatSession.user_id == bindparam("p_user_id")))
        .outerjoin(ChatMessage, ChatMessage.id == found.c.message_id)
        .order_by(found.c.number.desc(), found.c.score.desc(), found.c.id.desc())
    )


def _sessions_statement() -> Select[Any]:
    documents = (
        select(SearchDocument.session_id)
        .where(SearchDocument.terms.op("@@")(_CHUNKS.c.matching))
        .correlate(_CHUNKS)
        .lateral("documents")
    )
    limit = bindparam("p_limit", type_=Integer)
    found = select(documents.c.session_id).select_from(_CHUNKS.join(documents, true())).limit(limit).subquery("found")
    return select(found.c.session_id).distinct()


_MATCHES = _matches_statement()
_SESSIONS = _sessions_statement()


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
    rows = await connection.execute(_SESSIONS, _chunk_parameters(chunks) | {"p_limit": limit})
    return [row.session_id for row in rows]


def _chunk_parameters(chunks: Sequence[ChunkSearch]) -> dict[str, object]:
    return {
        "p_numbers": [chunk.number for chunk in chunks],
        **{f"p_{name}": [getattr(chunk, name) for chunk in chunks] for name in _TEXTS},
        "p_after_scores": [chunk.after.score if chunk.after else None for chunk in chunks],
        "p_after_ids": [chunk.after.id if chunk.after else None for chunk in chunks],
    }
