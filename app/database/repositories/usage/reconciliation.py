"""Comparing the sums with the ledger, an hour, a day or a week at a time, and mending what differs.

By how much a sum is wrong depends neither on turns that are being stored nor on what is being summed up: these change
the ledger, the queue and the sums together. So what is missing is found and added by one statement, without a lock.
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
    """A stretch of time that is to be compared."""

    begins: datetime
    ends: datetime
    is_first_pass: bool
    """Then differences are what earlier releases did not sum up; afterwards there should be none."""


class Reconciler:
    """Goes along the ledger, again and again, and compares some tables of sums with it."""

    def __init__(self, number: int, stretch: Literal["hour", "day", "week"], compared: Sequence[RollupTable]) -> None:
        """Build the statements. `number` is the key of its row in `usage_repair`."""
        self._number = number
        self._length = timedelta(**{f"{stretch}s": 1})
        self._compared = compared
        own = UsageRepair.id == number
        self._prepare = insert(UsageRepair).values(id=number).on_conflict_do_nothing()
        self._place = _place_statement(stretch, compared).where(own)
        self._mend = _mend_statement(compared)
        self._emptied = [_emptied(each) for each in compared]
        self._go_on = update(UsageRepair).where(own, UsageRepair.upto <= _FROM).values(upto=_TO)
        self._pass_over = self._go_on.values(passes=0)
        self._rest = (
            update(UsageRepair)
            .where(own)
            .values(
                upto=text("'-infinity'"),
                passes=UsageRepair.passes + 1,
                due_at=func.now() + bindparam("p_pause", type_=Interval),
            )
        )

    async def prepare(self, session: AsyncSession) -> None:
        """Make sure that there is a place to go on from."""
        await session.execute(self._prepare)

    async def find_place(self, session: AsyncSession, *, pause: timedelta) -> TimeWindow | None:
        """Return the next stretch with anything in it, and keep others from it until the transaction ends.

        None: another one is at it, or nothing is left. After a whole pass there is none for as long as `pause`.
        """
        found = (await session.execute(self._place)).one_or_none()
        if found is None:
            return None
        if found.begins is None:
            await session.execute(self._rest, {"p_pause": pause})
            return None
        return TimeWindow(found.begins, found.begins + self._length, is_first_pass=found.passes == 0)

    async def mend(self, session: AsyncSession, place: TimeWindow) -> dict[str, int]:
        """Make the sums of the stretch agree with the ledger. Return how many rows of which tables did not."""
        counts = (await session.execute(self._mend, _bounds(place))).one()
        mended = {each.table.name: count for each, count in zip(self._compared, counts, strict=True) if count}
        if mended:
            for statement in self._emptied:
                await session.execute(statement, _bounds(place))
        return mended

    async def go_on(self, session: AsyncSession, place: TimeWindow) -> None:
        """Leave the stretch behind."""
        await session.execute(self._go_on, _bounds(place))

    async def pass_over(self, session: AsyncSession, place: TimeWindow) -> None:
        """Leave the stretch behind although it has not been compared: no pass counts any more."""
        await session.execute(self._pass_over, _bounds(place))


def _place_statement(stretch: str, compared: Sequence[RollupTable]) -> Select[datetime | None, int]:
    times = [LlmCall.created_at, *(each.time for each in compared)]
    next_times = [select(func.min(time)).where(time >= UsageRepair.upto).scalar_subquery() for time in times]
    begins = func.date_trunc(stretch, func.least(*next_times), "UTC", type_=TIMESTAMP(timezone=True))
    place = select(begins.label("begins"), UsageRepair.passes).where(UsageRepair.due_at <= func.now())
    return place.with_for_update(skip_locked=True, of=UsageRepair)


def _mend_statement(compared: Sequence[RollupTable]) -> Select[Any]:
    calls = select(LlmCall).where(LlmCall.created_at >= _FROM, LlmCall.created_at < _TO).cte("calls")
    pending = select(calls).join(UsagePending, UsagePending.call_id == calls.c.id).cte("pending")
    mended = [_mended(each, _missing(each, calls, pending)).cte(f"to_{each.table.name}") for each in compared]
    return select(*(select(func.count()).select_from(rows).scalar_subquery() for rows in mended))


def _missing(of: RollupTable, calls: FromClause, pending: FromClause) -> CTE:
    """Build what the ledger has, but neither the table nor the queue; less than nothing where it is the other way."""
    table = of.table
    stored = select(*table.c).where(of.time >= _FROM, of.time < _TO).subquery("stored")
    waiting = of.of_rows(pending).subquery("waiting")
    there = (
        select(*(rows.c[key] for key in of.keys), *(-rows.c[name] for name in of.counters))
        for rows in (stored, waiting)
    )
    parts = union_all(of.of_rows(calls), *there).subquery("parts")
    keys = [parts.c[key] for key in of.keys]
    missing = [func.sum(parts.c[name]).label(name) for name in of.counters]
    differing = or_(*(func.sum(parts.c[name]) != 0 for name in of.counters))
    return select(*keys, *missing).group_by(*keys).having(differing).cte(f"missing_in_{table.name}")


def _mended(to: RollupTable, missing: CTE) -> ReturningInsert[Any]:
    rows: FromClause = missing
    if to.is_by_user:
        # An account that is being erased is not waited for: its sums go with it, and they are equal otherwise.
        owners = (
            select(User.id)
            .where(User.id.in_(select(missing.c.user_id)))
            .order_by(User.id)
            .with_for_update(key_share=True, read=True, skip_locked=True)
            .cte("owners")
        )
        rows = select(missing).join(owners, owners.c.id == missing.c.user_id).subquery("owned")
    return to.adding(rows).returning(literal(1).label("mended"))


def _emptied(of: RollupTable) -> Delete:
    is_nothing = (of.table.c[name] == 0 for name in of.counters)
    return delete(of.table).where(of.time >= _FROM, of.time < _TO, *is_nothing)


def _bounds(place: TimeWindow) -> dict[str, datetime]:
    return {"p_from": place.begins, "p_to": place.ends}


# Sums of earlier releases stand at the beginning of their hour, so quarters of an hour are mended together.
QUARTERLY = Reconciler(1, "hour", rollup_tables.BY_QUARTER)
DAILY = Reconciler(rollup_tables.DAILY_RECONCILIATION, "day", rollup_tables.BY_DAY)
WEEKLY = Reconciler(rollup_tables.WEEKLY_RECONCILIATION, "week", rollup_tables.BY_WEEK)
