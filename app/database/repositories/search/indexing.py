"""Indexing of texts: the queue of changed texts, and storing of documents. No statement waits for a turn."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    Text,
    any_,
    bindparam,
    case,
    cast,
    column,
    delete,
    func,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects.postgresql import TSVECTOR, Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import (
    ChatMessage,
    ChatSession,
    SearchDocument,
    SearchOwner,
    SearchPending,
    User,
)
from app.database.repositories.turns.turn_sql import IS_ACTIVE

_RECENT_SESSIONS: Final = 50
"""Number of recently used sessions of a user whose queued texts a search finds."""


class PendingText(NamedTuple):
    """A queued text. The last three values are None if the message or session was deleted."""

    id: int
    session_id: int
    message_id: int | None
    user_id: int | None
    text: str | None
    created_at: datetime | None


class UserState(NamedTuple):
    """What a search needs to know about the index of a user."""

    documents: int
    """Number of documents, including deleted ones."""
    pending: list[int]
    """Keys of queued texts of the user, newest first."""


_LIMIT = bindparam("p_limit", type_=Integer)
_IDS = bindparam("p_ids", type_=ARRAY(BigInteger))


def _read_statement(condition: ColumnElement[bool]) -> Select[Any]:
    is_title = SearchPending.message_id.is_(None)
    content = func.left(ChatMessage.content, bindparam("p_characters", type_=Integer))
    return (
        select(
            SearchPending.id,
            SearchPending.session_id,
            SearchPending.message_id,
            ChatSession.user_id,
            case((is_title, ChatSession.title), else_=content),
            case((is_title, ChatSession.created_at), else_=ChatMessage.created_at),
        )
        .outerjoin(ChatSession, ChatSession.id == SearchPending.session_id)
        .outerjoin(ChatMessage, (ChatMessage.id == SearchPending.message_id) & ~IS_ACTIVE)
        .where(condition)
        .order_by(SearchPending.id)
    )


_READ_OLDEST = _read_statement(
    SearchPending.id
    == any_(func.array(select(SearchPending.id).order_by(SearchPending.id).limit(_LIMIT).scalar_subquery()))
)
_READ = _read_statement(SearchPending.id == any_(_IDS))


def _state_statement() -> Select[Any]:
    user_id = bindparam("p_user_id", type_=BigInteger)
    # Two selects, because the index of lists has `is_active` before the time.
    recent = union_all(
        *(
            select(
                select(ChatSession.id)
                .where(ChatSession.user_id == user_id, ChatSession.is_active.is_(is_active))
                .order_by(ChatSession.updated_at.desc(), ChatSession.id.desc())
                .limit(_RECENT_SESSIONS)
                .subquery()
            )
            for is_active in (True, False)
        )
    ).subquery("recent")
    pending = (
        select(SearchPending.id)
        .join(recent, recent.c.id == SearchPending.session_id)
        .order_by(SearchPending.id.desc())
        .limit(_LIMIT)
    )
    documents = select(SearchOwner.documents).where(SearchOwner.user_id == user_id)
    return select(func.coalesce(documents.scalar_subquery(), 0), func.array(pending.scalar_subquery()))


def _reserve_statement() -> Any:  # noqa: ANN401 - an insertion with its returned columns
    counts = (
        func.unnest(bindparam("p_user_ids", type_=ARRAY(BigInteger)), bindparam("p_counts", type_=ARRAY(Integer)))
        .table_valued(column("user_id", BigInteger), column("documents", Integer), name="counts")
        .render_derived()
    )
    # An account that is being erased is skipped: waiting for its lock could be a deadlock.
    owners = (
        select(User.id, counts.c.documents)
        .join(counts, counts.c.user_id == User.id)
        .order_by(User.id)
        .with_for_update(of=User, key_share=True, read=True, skip_locked=True)
        .cte("owners")
    )
    statement = insert(SearchOwner).from_select(["user_id", "documents"], select(owners).order_by(owners.c.id))
    return statement.on_conflict_do_update(
        index_elements=[SearchOwner.user_id],
        set_={"documents": SearchOwner.documents + statement.excluded.documents},
    ).returning(SearchOwner.user_id, SearchOwner.documents)


def _store_statement() -> Select[Any]:
    pending = (
        select(SearchPending.id, SearchPending.session_id, SearchPending.message_id)
        .where(SearchPending.id == any_(_IDS))
        .with_for_update(skip_locked=True)
        .cte("pending")
    )
    # Messages and sessions that another transaction deletes or locks are skipped: their rows stay in the queue.
    messages = (
        select(ChatMessage.id, ChatMessage.created_at)
        .where(ChatMessage.id.in_(select(pending.c.message_id)))
        .with_for_update(key_share=True, read=True, skip_locked=True)
        .cte("messages")
    )
    titles = (
        select(ChatSession.id, ChatSession.created_at)
        .where(ChatSession.id.in_(select(pending.c.session_id).where(pending.c.message_id.is_(None))))
        .with_for_update(key_share=True, read=True, skip_locked=True)
        .cte("titles")
    )
    documents = (
        func.unnest(bindparam("p_document_ids", type_=ARRAY(BigInteger)), bindparam("p_terms", type_=ARRAY(Text)))
        .table_valued(column("pending_id", BigInteger), column("terms", Text), name="documents")
        .render_derived()
    )
    terms = cast(documents.c.terms, TSVECTOR)
    of_document = pending.c.id == documents.c.pending_id
    of_message = messages.c.id == pending.c.message_id
    of_title = (titles.c.id == pending.c.session_id) & pending.c.message_id.is_(None)
    stored = [
        _upsert(
            SearchDocument.message_id,
            select(pending.c.session_id, messages.c.id, null(), terms, messages.c.created_at)
            .select_from(documents)
            .join(pending, of_document)
            .join(messages, of_message),
        ).cte("stored_messages"),
        _upsert(
            SearchDocument.title_of_id,
            select(pending.c.session_id, null(), titles.c.id, terms, titles.c.created_at)
            .select_from(documents)
            .join(pending, of_document)
            .join(titles, of_title),
        ).cte("stored_titles"),
    ]
    found = (
        select(pending.c.id)
        .outerjoin(messages, of_message)
        .outerjoin(titles, of_title)
        .where(or_(messages.c.id.is_not(None), titles.c.id.is_not(None)))
    )
    discarded = bindparam("p_discarded_ids", type_=ARRAY(BigInteger))
    taken = (
        delete(SearchPending)
        .where(or_(SearchPending.id.in_(found), SearchPending.id == any_(discarded)))
        .returning(SearchPending.id)
        .cte("taken")
    )
    return select(func.count(taken.c.id)).add_cte(*stored)


def _upsert(key: Any, rows: Select[Any]) -> Insert:  # noqa: ANN401 - an attribute of the model
    statement = insert(SearchDocument).from_select(
        ["session_id", "message_id", "title_of_id", "terms", "created_at"], rows
    )
    is_title = key is SearchDocument.title_of_id
    return statement.on_conflict_do_update(
        index_elements=[key],
        index_where=SearchDocument.title_of_id.is_not(None) if is_title else None,
        set_={"terms": statement.excluded.terms},
    )


_STATE = _state_statement()
_RESERVE = _reserve_statement()
_STORE = _store_statement()


async def read_state(connection: AsyncConnection, user_id: int, *, limit: int) -> UserState:
    """Return the state of the user's index, with at most `limit` queued texts."""
    return UserState(*(await connection.execute(_STATE, {"p_user_id": user_id, "p_limit": limit})).one())


async def read_oldest(connection: AsyncConnection, *, limit: int, characters: int) -> list[PendingText]:
    """Return the first `limit` queued texts of all users, each up to its first `characters`."""
    parameters = {"p_limit": limit, "p_characters": characters}
    return [PendingText(*row) for row in await connection.execute(_READ_OLDEST, parameters)]


async def read(connection: AsyncConnection, ids: Sequence[int], *, characters: int) -> list[PendingText]:
    """Return queued texts by their keys, each up to its first `characters`."""
    parameters = {"p_ids": list(ids), "p_characters": characters}
    return [PendingText(*row) for row in await connection.execute(_READ, parameters)]


async def reserve_numbers(connection: AsyncConnection, counts: Mapping[int, int]) -> dict[int, int]:
    """Count new documents by owner, and return the number of the last one of each.

    Owners whose account was erased or is locked are missing in the result. Numbers may remain unused.
    """
    parameters = {"p_user_ids": list(counts), "p_counts": list(counts.values())}
    return {row.user_id: row.documents for row in await connection.execute(_RESERVE, parameters)}


async def store(
    connection: AsyncConnection, ids: Iterable[int], documents: Mapping[int, str], discarded: Iterable[int]
) -> int:
    """Store documents and remove their texts from the queue; return the number of removed rows.

    `ids`: queued texts that the documents cover; rows whose message or session is locked remain. `documents`: vectors
    in text form by key of a queued text. `discarded`: queued texts to remove without a document.
    """
    count: int = (
        await connection.execute(
            _STORE,
            {
                "p_ids": list(ids),
                "p_document_ids": list(documents),
                "p_terms": list(documents.values()),
                "p_discarded_ids": list(discarded),
            },
        )
    ).scalar_one()
    return count
