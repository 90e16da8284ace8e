"""Deletion of expired rows in batches."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, DateTime, Integer, bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningDelete

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


def delete_statement(
    key: InstrumentedAttribute[Any],
    is_expired: ColumnElement[bool],
    *,
    oldest_first: InstrumentedAttribute[datetime] | None = None,
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


class DeletionByTime:
    """Deletion of expired rows of a large table. Each batch begins at the time where the previous one ended.

    Otherwise it would read the index entries of all rows that were deleted since the last VACUUM.
    """

    def __init__(
        self, key: InstrumentedAttribute[Any], time: InstrumentedAttribute[datetime], is_expired: ColumnElement[bool]
    ) -> None:
        """Build the statement. `time` is indexed and never changes; `is_expired` has no parameters."""
        start = time >= bindparam("p_start", type_=DateTime(timezone=True))
        self._statement = delete_statement(key, is_expired & start, oldest_first=time).returning(time.label("time"))
        self._position = _START

    async def delete_batch(self, connection: AsyncConnection, *, limit: int) -> int:
        """Delete at most `limit` rows; return their number. After fewer, the next batch begins with the oldest row."""
        rows = (await connection.execute(self._statement, {"p_limit": limit, "p_start": self._position})).all()
        self._position = max(row.time for row in rows) if len(rows) == limit else _START
        return len(rows)
