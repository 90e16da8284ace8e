"""Counters of the brute-force protection and of other limits: fixed windows that start with the first attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

from sqlalchemy import (
    ColumnElement,
    Integer,
    any_,
    bindparam,
    case,
    collate,
    delete,
    func,
    select,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import Interval, Text

from app.database.models import AttemptCounter
from app.database.models.accounts.attempt_counter import KEY_WITHOUT_NETWORK
from app.database.repositories.operations import batch_deletion


@dataclass(frozen=True, slots=True)
class AttemptCount:
    """State of a counter after an attempt."""

    attempts: int
    """Number of attempts in the window, including this one."""
    retry_after: int
    """Seconds until the window ends, at least 1."""

    @classmethod
    def of(cls, attempts: int, seconds: float) -> Self:
        """Return the state from the columns of a row of `COUNT`."""
        return cls(attempts, max(1, int(seconds)))


_KEYS = bindparam("p_keys", type_=ARRAY(Text))


def _locked(condition: ColumnElement[bool]) -> ColumnElement[Any]:
    # Locks rows in the order of `count_all`, so that concurrent statements cannot deadlock. An array, which is computed
    # once: a join with the subquery might read the whole table.
    rows = select(AttemptCounter.key).where(condition).order_by(collate(AttemptCounter.key, "C")).with_for_update()
    return any_(func.array(rows.scalar_subquery(), type_=ARRAY(Text)))


_MAX_ATTEMPTS = 1_000_000_000
_new = insert(AttemptCounter).from_select(
    ["key", "attempts", "window_ends_at"],
    select(
        func.unnest(_KEYS).label("key"),
        sql_cast(1, Integer),
        func.now() + bindparam("p_window", type_=Interval),
    ),
)
_is_over: ColumnElement[bool] = AttemptCounter.window_ends_at <= func.now()
COUNT = _new.on_conflict_do_update(
    index_elements=[AttemptCounter.key],
    set_={
        "attempts": case((_is_over, 1), else_=func.least(AttemptCounter.attempts + 1, _MAX_ATTEMPTS)),
        "window_ends_at": case((_is_over, _new.excluded.window_ends_at), else_=AttemptCounter.window_ends_at),
    },
).returning(
    AttemptCounter.key,
    AttemptCounter.attempts,
    func.ceil(func.extract("epoch", AttemptCounter.window_ends_at - func.now())).label("seconds"),
)
"""Statement that counts one attempt under each of the keys `p_keys`, in windows of `p_window`."""
_REFUND = (
    update(AttemptCounter)
    .where(AttemptCounter.key == _locked(AttemptCounter.key == any_(_KEYS)), AttemptCounter.attempts > 0)
    .values(attempts=func.least(AttemptCounter.attempts, bindparam("p_limit", type_=Integer)) - 1)
)
# Indexed, because an attack creates millions of counters.
_REMOVE = delete(AttemptCounter).where(AttemptCounter.key == _locked(any_(_KEYS) == KEY_WITHOUT_NETWORK))

_RETENTION = timedelta(days=1)
"""How long a counter is stored after its window. Reusing a row is cheaper than inserting a new one."""
_PURGE = batch_deletion.delete_statement(AttemptCounter.key, AttemptCounter.window_ends_at <= func.now() - _RETENTION)


async def count_all(
    connection: AsyncConnection | AsyncSession, keys: Sequence[str], *, window: timedelta
) -> dict[str, AttemptCount]:
    """Count one attempt under each key, atomically in one statement, and return the counters by key."""
    if isinstance(connection, AsyncSession):
        connection = await connection.connection()  # a session would treat the parameters as rows of a bulk insert
    # Sorted, so that concurrent statements with the same keys cannot deadlock.
    rows = await connection.execute(COUNT, {"p_keys": sorted(keys), "p_window": window})
    return {row.key: AttemptCount.of(row.attempts, row.seconds) for row in rows}


async def count(connection: AsyncConnection | AsyncSession, key: str, *, window: timedelta) -> AttemptCount:
    """Count one attempt under a key."""
    return (await count_all(connection, [key], window=window))[key]


async def refund(
    connection: AsyncConnection | AsyncSession, keys: Sequence[str], *, limit: int = _MAX_ATTEMPTS
) -> None:
    """Subtract one attempt under each key, and all attempts over `limit`, which were refused."""
    await connection.execute(_REFUND, {"p_keys": list(keys), "p_limit": limit})


async def remove(connection: AsyncConnection | AsyncSession, keys: Sequence[str]) -> None:
    """Delete the counters of the keys, and of the keys combined with a network (`key@network`)."""
    await connection.execute(_REMOVE, {"p_keys": list(keys)})


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete up to `limit` counters whose window ended long ago, and return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
