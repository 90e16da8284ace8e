"""Removing what is over, a batch at a time."""

from typing import Any

from sqlalchemy import ColumnElement, Integer, bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.dml import ReturningDelete


def delete_statement(key: InstrumentedAttribute[Any], is_over: ColumnElement[bool]) -> ReturningDelete[Any]:
    """Build the statement that removes some rows of the key's table. What somebody has locked is left for later."""
    some = select(key).where(is_over).limit(bindparam("p_limit", type_=Integer)).with_for_update(skip_locked=True)
    return delete(key.class_).where(key.in_(some)).returning(key)


async def delete_batch(connection: AsyncConnection, statement: ReturningDelete[Any], *, limit: int) -> int:
    """Remove at most `limit` rows, and say how many."""
    return len((await connection.execute(statement, {"p_limit": limit})).all())
