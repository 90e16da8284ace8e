"""Counters against guessing and flooding. Each counts in a window that begins with its first try."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    any_,
    bindparam,
    case,
    collate,
    column,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import Interval, Text

from app.database.models import AttemptCounter
from app.database.repositories.operations import batch_deletion


@dataclass(frozen=True, slots=True)
class AttemptCount:
    """A counter after this try."""

    attempts: int
    """This try and those before it in the window."""
    retry_after: int
    """Seconds until the count starts again, at least 1."""


def _locked(condition: ColumnElement[bool]) -> Select[str]:
    # In one order, as `count_all` has it, so that two that want the same keys do not wait for each other.
    return select(AttemptCounter.key).where(condition).order_by(collate(AttemptCounter.key, "C")).with_for_update()


_MAX_ATTEMPTS = 1_000_000_000
_new = insert(AttemptCounter).from_select(
    ["key", "attempts", "window_ends_at"],
    select(
        func.unnest(bindparam("p_keys", type_=ARRAY(Text))).label("key"),
        sql_cast(1, Integer),
        func.now() + bindparam("p_window", type_=Interval),
    ),
)
_is_over: ColumnElement[bool] = AttemptCounter.window_ends_at <= func.now()
_COUNT = _new.on_conflict_do_update(
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
_REFUND = (
    update(AttemptCounter)
    .where(
        AttemptCounter.key.in_(_locked(AttemptCounter.key == any_(bindparam("p_keys", type_=ARRAY(Text))))),
        AttemptCounter.attempts > 0,
    )
    .values(attempts=AttemptCounter.attempts - 1)
)

_KEPT = timedelta(days=1)
"""How long a counter stays whose window is over: who comes back soon finds the row to count in."""
_PURGE = batch_deletion.delete_statement(AttemptCounter.key, AttemptCounter.window_ends_at <= func.now() - _KEPT)


async def count_all(
    connection: AsyncConnection | AsyncSession, keys: Sequence[str], *, window: timedelta
) -> dict[str, AttemptCount]:
    """Count one try under each key: one statement, whatever else happens at the same time."""
    if isinstance(connection, AsyncSession):
        connection = await connection.connection()  # a session would take the parameters for rows to insert
    # In one order, so that two that count the same keys do not wait for each other.
    rows = await connection.execute(_COUNT, {"p_keys": sorted(keys), "p_window": window})
    return {row.key: AttemptCount(row.attempts, max(1, int(row.seconds))) for row in rows}


async def count(connection: AsyncConnection | AsyncSession, key: str, *, window: timedelta) -> AttemptCount:
    """Count one try under one key."""
    return (await count_all(connection, [key], window=window))[key]


async def refund(connection: AsyncConnection | AsyncSession, keys: Sequence[str]) -> None:
    """Take back one try under each key: it was a right one."""
    await connection.execute(_REFUND, {"p_keys": list(keys)})


async def forget(connection: AsyncConnection | AsyncSession, keys: Sequence[str]) -> None:
    """Remove the counters of these keys, and of the same keys at single networks (`key@network`)."""
    key = column("key", Text)
    await connection.execute(
        delete(AttemptCounter).where(
            AttemptCounter.key.in_(
                _locked(
                    or_(
                        AttemptCounter.key == any_(bindparam("p_keys", type_=ARRAY(Text))),
                        select(key)
                        .select_from(
                            func.unnest(bindparam("p_keys", type_=ARRAY(Text))).table_valued(key).render_derived()
                        )
                        .where(func.starts_with(AttemptCounter.key, key + "@"))
                        .exists(),
                    )
                )
            )
        ),
        {"p_keys": list(keys)},
    )


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Remove counters whose window is long over, `limit` at most, and say how many."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
