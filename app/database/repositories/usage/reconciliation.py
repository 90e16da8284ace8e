"""Reconciliation of the usage roll-ups with the ledger, one hour, day or week at a time.

Concurrent writers change the ledger, the queue of pending rows and the roll-ups in one transaction each, so they do not
change the difference between the three. One statement can therefore find and add it without locking the tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    CTE,
    TIMESTAMP,
    Delete,
    FromClause,
    Interval,
    Select,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.dml import ReturningInsert

from app.database.models import LlmCall, UsagePending, UsageRepair, User
from app.database.repositories.usage import rollup_tables
from app.database.repositories.usage.rollup_tables import RollupTable

_FROM = bindparam("p_from", type_=TIMESTAMP(timezone=True))
_TO = bindparam("p_to", type_=TIMESTAMP(timezone=True))


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """Half-open range of time that is compared in one transaction."""

    start: datetime
    end: datetime
    is_first_pass: bool
    """Differences are expected in the first pass, from data of earlier releases. Later ones indicate a bug."""


class Reconciler:
    """Compares the roll-up tables of one granularity with the ledger, window by window, in repeated passes."""

    def __init__(self, number: int, granularity: Literal["hour", "day", "week"], tables: Sequence[RollupTable]) -> None:
        """Build the statements. `number` is the key of the row in `usage_repair` that stores the progress."""
        self._number = number
        self._length = timedelta(**{f"{granularity}s": 1})
        self._tables = tables
        is_own = UsageRepair.id == number
        self._create_progress = insert(UsageRepair).values(id=number).on_conflict_do_nothing()
        self._claim = _claim_statement(granularity, tables).where(is_own)
        self._repair = _repair_statement(tables)
        self._delete_empty = [_delete_empty(each) for each in tables]
        self._advance = update(UsageRepair).where(is_own, UsageRepair.upto <= _FROM).values(upto=_TO)
        self._skip = self._advance.values(passes=0)
        self._finish_pass = (
            update(UsageRepair)
            .where(is_own)
            .values(
                upto=text("'-infinity'"),
                passes=UsageRepair.passes + 1,
                due_at=func.now() + bindparam("p_pause", type_=Interval),
            )
        )

    async def create_progress(self, session: AsyncSession) -> None:
        """Insert the row that stores the progress, if it does not exist."""
        await session.execute(self._create_progress)

    async def claim_window(self, session: AsyncSession, *, pause: timedelta) -> TimeWindow | None:
        """Lock the progress until the transaction ends, and return the next window that contains rows.

        None: another worker holds the lock, the pass is complete (the next one starts after `pause`), or none is due.
        """
        progress = (await session.execute(self._claim)).one_or_none()
        if progress is None:
            return None
        if progress.start is None:
            await session.execute(self._finish_pass, {"p_pause": pause})
            return None
        return TimeWindow(progress.start, progress.start + self._length, is_first_pass=progress.passes == 0)

    async def repair(self, session: AsyncSession, window: TimeWindow) -> dict[str, int]:
        """Correct the roll-ups of the window; return the number of corrected rows by table."""
        counts = (await session.execute(self._repair, _bounds(window))).one()
        repaired = {each.table.name: count for each, count in zip(self._tables, counts, strict=True) if count}
        if repaired:
            for statement in self._delete_empty:
                await session.execute(statement, _bounds(window))
        return repaired

    async def advance(self, session: AsyncSession, window: TimeWindow) -> None:
        """Store that the window has been compared."""
        await session.execute(self._advance, _bounds(window))

    async def skip(self, session: AsyncSession, window: TimeWindow) -> None:
        """Store that the window has been skipped, and reset the number of completed passes."""
        await session.execute(self._skip, _bounds(window))


def _claim_statement(granularity: str, tables: Sequence[RollupTable]) -> Select[datetime | None, int]:
    times = [LlmCall.created_at, *(each.time for each in tables)]
    next_times = [select(func.min(time)).where(time >= UsageRepair.upto).scalar_subquery() for time in times]
    start = func.date_trunc(granularity, func.least(*next_times), "UTC", type_=TIMESTAMP(timezone=True))
    window = select(start.label("start"), UsageRepair.passes).where(UsageRepair.due_at <= func.now())
    return window.with_for_update(skip_locked=True, of=UsageRepair)


def _repair_statement(tables: Sequence[RollupTable]) -> Select[Any]:
    calls = select(LlmCall).where(LlmCall.created_at >= _FROM, LlmCall.created_at < _TO).cte("calls")
    pending = select(calls).join(UsagePending, UsagePending.call_id == calls.c.id).cte("pending")
    repaired = [
        _repair_table(each, _missing_rows(each, calls, pending)).cte(f"to_{each.table.name}") for each in tables
    ]
    return select(*(select(func.count()).select_from(rows).scalar_subquery() for rows in repaired))


def _missing_rows(rollup: RollupTable, calls: FromClause, pending: FromClause) -> CTE:
    """Build ledger minus table minus pending rows, by key, where it is not zero. Counters may be negative."""
    table = rollup.table
    stored = select(*table.c).where(rollup.time >= _FROM, rollup.time < _TO).subquery("stored")
    waiting = rollup.aggregate_rows(pending).subquery("waiting")
    subtracted = (
        select(*(rows.c[key] for key in rollup.keys), *(-rows.c[name] for name in rollup.counters))
        for rows in (stored, waiting)
    )
    parts = union_all(rollup.aggregate_rows(calls), *subtracted).subquery("parts")
    keys = [parts.c[key] for key in rollup.keys]
    missing = [func.sum(parts.c[name]).label(name) for name in rollup.counters]
    differing = or_(*(func.sum(parts.c[name]) != 0 for name in rollup.counters))
    return select(*keys, *missing).group_by(*keys).having(differing).cte(f"missing_in_{table.name}")


def _repair_table(rollup: RollupTable, missing: CTE) -> ReturningInsert[Any]:
    rows: FromClause = missing
    if rollup.is_by_user:
        # Skip accounts that are locked because they are being erased: their roll-ups are deleted with them.
        owners = (
            select(User.id)
            .where(User.id.in_(select(missing.c.user_id)))
            .order_by(User.id)
            .with_for_update(key_share=True, read=True, skip_locked=True)
            .cte("owners")
        )
        rows = select(missing).join(owners, owners.c.id == missing.c.user_id).subquery("owned")
    return rollup.upsert(rows).returning(literal(1).label("repaired"))


def _delete_empty(rollup: RollupTable) -> Delete:
    is_empty = (rollup.table.c[name] == 0 for name in rollup.counters)
    return delete(rollup.table).where(rollup.time >= _FROM, rollup.time < _TO, *is_empty)


def _bounds(window: TimeWindow) -> dict[str, datetime]:
    return {"p_from": window.start, "p_to": window.end}


# Earlier releases stored hourly roll-ups at the first quarter of the hour: compare the quarters of an hour together.
QUARTERLY = Reconciler(1, "hour", rollup_tables.BY_QUARTER)
DAILY = Reconciler(rollup_tables.DAILY_RECONCILIATION_ID, "day", rollup_tables.BY_DAY)
WEEKLY = Reconciler(rollup_tables.WEEKLY_RECONCILIATION_ID, "week", rollup_tables.BY_WEEK)
# On its own, so that the tables of an upgrade are filled at once, and not with the next pass of the others.
PROVIDERS = Reconciler(rollup_tables.PROVIDER_RECONCILIATION_ID, "hour", rollup_tables.BY_PROVIDER)
