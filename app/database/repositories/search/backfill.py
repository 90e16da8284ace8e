"""Queueing of the texts that were stored before the search index existed."""

from typing import Any

from sqlalchemy import CTE, BigInteger, Integer, Select, bindparam, func, null, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.models import ChatMessage, ChatSession, SearchBackfill, SearchPending

_LIMIT = bindparam("p_limit", type_=Integer)


def _backfill_statement(number: int, source: type[ChatMessage | ChatSession]) -> Select[Any]:
    progress = (
        select(SearchBackfill.after_id, SearchBackfill.last_id)
        .where(SearchBackfill.id == number, SearchBackfill.after_id < SearchBackfill.last_id)
        .with_for_update(skip_locked=True)
        .cte("progress")
    )
    # As subqueries, so that an index scan has both bounds: a join would read the whole table when all is queued.
    after_id = select(progress.c.after_id).scalar_subquery()
    last_id = select(progress.c.last_id).scalar_subquery()
    is_message = source is ChatMessage
    batch: CTE = (
        select(
            source.id,
            (ChatMessage.session_id if is_message else ChatSession.id).label("session_id"),
            (ChatMessage.id if is_message else null().cast(BigInteger)).label("message_id"),
        )
        .where(source.id > after_id, source.id <= last_id)
        .order_by(source.id)
        .limit(_LIMIT)
        .cte("batch")
    )
    # Active answers are queued when they are complete.
    queued = insert(SearchPending).from_select(
        ["session_id", "message_id"], select(batch.c.session_id, batch.c.message_id).order_by(batch.c.id)
    )
    advanced = (
        update(SearchBackfill)
        .where(SearchBackfill.id == number)
        .values(after_id=func.coalesce(select(func.max(batch.c.id)).scalar_subquery(), SearchBackfill.last_id))
        .where(select(progress).exists())
    )
    return select(func.count(batch.c.id)).add_cte(queued.cte("queued"), advanced.cte("advanced"))


_BACKFILLS = (_backfill_statement(2, ChatSession), _backfill_statement(1, ChatMessage))


async def queue_existing(connection: AsyncConnection, *, limit: int) -> int:
    """Queue up to `limit` texts that were stored before the index existed; return their number."""
    for statement in _BACKFILLS:
        count: int = (await connection.execute(statement, {"p_limit": limit})).scalar_one()
        if count:
            return count
    return 0
