"""Deletion of expired rows in batches."""

from typing import Any

from sqlalchemy import ColumnElement, Integer, bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningDelete


def delete_statement(
    key: InstrumentedAttribute[Any],
    is_expired: ColumnElement[bool],
    *,
    oldest_first: InstrumentedAttribute[Any] | None = None,
) -> ReturningDelete[Any]:
    """Build the deletion of up to `p_limit` expired rows of the table of `key`. Locked rows are skipped.

    `oldest_first`: indexed time, required for large tables. If most rows have expired, PostgreSQL would otherwise read
    the table in its own order, and each batch the space of all rows that earlier ones have deleted.
    """
    batch = select(key).where(is_expired).limit(bindparam("p_limit", type_=Integer)).with_for_update(skip_locked=True)
    if oldest_first is not None:
        batch = batch.order_by(oldest_first)
    return delete(key.class_).where(key.in_(batch)).returning(key)


async def delete_batch(connection: AsyncConnection, statement: ReturningDelete[Any], *, limit: int) -> int:
    """Delete at most `limit` rows; return their number."""
    return len((await connection.execute(statement, {"p_limit": limit})).all())
