"""Deletion of expired rows in batches."""

from typing import Any

from sqlalchemy import ColumnElement, Integer, bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningDelete


def delete_statement(key: InstrumentedAttribute[Any], is_expired: ColumnElement[bool]) -> ReturningDelete[Any]:
    """Build the deletion of up to `p_limit` expired rows of the table of `key`. Locked rows are skipped."""
    batch = select(key).where(is_expired).limit(bindparam("p_limit", type_=Integer)).with_for_update(skip_locked=True)
    return delete(key.class_).where(key.in_(batch)).returning(key)


async def delete_batch(connection: AsyncConnection, statement: ReturningDelete[Any], *, limit: int) -> int:
    """Delete at most `limit` rows; return their number."""
    return len((await connection.execute(statement, {"p_limit": limit})).all())
