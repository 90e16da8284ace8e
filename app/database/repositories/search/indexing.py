"""Storing of documents in the search index. No statement waits for a turn."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Integer,
    Select,
    Text,
    any_,
    bindparam,
    cast,
    column,
    delete,
    func,
    null,
    or_,
    select,
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
from app.database.repositories.search.pending_texts import INDEXED_CONTENT


class NewDocument(NamedTuple):
    """A document to store."""

    terms: str
    """Vector in text form."""
    digest: str
    """Digest of the text that it was made from."""


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
        .where(SearchPending.id == any_(bindparam("p_ids", type_=ARRAY(BigInteger))))
        .with_for_update(skip_locked=True)
        .cte("pending")
    )
    documents = (
        func.unnest(
            bindparam("p_document_ids", type_=ARRAY(BigInteger)),
            bindparam("p_terms", type_=ARRAY(Text)),
            bindparam("p_digests", type_=ARRAY(Text)),
        )
        .table_valued(column("pending_id", BigInteger), column("terms", Text), column("digest", Text), name="documents")
        .render_derived()
    )
    terms = cast(documents.c.terms, TSVECTOR)
    of_document = pending.c.id == documents.c.pending_id
    # Messages and sessions that another transaction deletes or locks are skipped, and so are those whose text was
    # changed since it was read: their rows stay in the queue. Once locked, a title cannot change.
    messages = (
        select(ChatMessage.id, ChatMessage.created_at)
        .join(pending, pending.c.message_id == ChatMessage.id)
        .join(documents, of_document)
        .where(func.md5(INDEXED_CONTENT) == documents.c.digest)
        .with_for_update(of=ChatMessage, read=True, skip_locked=True)
        .cte("messages")
    )
    titles = (
        select(ChatSession.id, ChatSession.created_at)
        .join(pending, (pending.c.session_id == ChatSession.id) & pending.c.message_id.is_(None))
        .join(documents, of_document)
        .where(func.md5(ChatSession.title) == documents.c.digest)
        .with_for_update(of=ChatSession, read=True, skip_locked=True)
        .cte("titles")
    )
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


_RESERVE = _reserve_statement()
_STORE = _store_statement()


async def reserve_numbers(connection: AsyncConnection, counts: Mapping[int, int]) -> dict[int, int]:
    """Count new documents by owner, and return the number of the last one of each.

    Owners whose account was erased or is locked are missing in the result. Numbers may remain unused.
    """
    parameters = {"p_user_ids": list(counts), "p_counts": list(counts.values())}
    return {row.user_id: row.documents for row in await connection.execute(_RESERVE, parameters)}


async def store(
    connection: AsyncConnection,
    ids: Iterable[int],
    documents: Mapping[int, NewDocument],
    discarded: Iterable[int],
    *,
    characters: int,
) -> int:
    """Store documents and remove their texts from the queue; return the number of removed rows.

    `ids`: queued texts that the documents cover; rows whose message or session is locked, or whose text was changed
    since it was read, remain. `documents`: by key of a queued text. `discarded`: queued texts to remove without a
    document. `characters`: as when the texts were read.
    """
    count: int = (
        await connection.execute(
            _STORE,
            {
                "p_ids": list(ids),
                "p_document_ids": list(documents),
                "p_terms": [document.terms for document in documents.values()],
                "p_digests": [document.digest for document in documents.values()],
                "p_characters": characters,
                "p_discarded_ids": list(discarded),
            },
        )
    ).scalar_one()
    return count
