"""The jobs of the workers, and how they went."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, bindparam, case, func, or_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import Interval

from app.database.models import WorkerJob
from app.database.repositories.operations import batch_deletion


@dataclass(frozen=True, slots=True)
class JobReport:
    """What one worker has to say of a job. Ages are of the moment when it is written down."""

    name: str
    interval_seconds: float
    rounds: int
    """Since it last reported, as are the next two."""
    failures: int
    handled: int
    started: timedelta | None
    """How long ago a round last began; None: never."""
    finished: timedelta | None
    """How long ago one last ended well."""
    duration_ms: int | None
    last_handled: int | None
    failed: timedelta | None
    """How long ago one last failed."""
    error: str | None


def _ago(name: str) -> ColumnElement[Any]:
    age: BindParameter[timedelta] = bindparam(name, type_=Interval)
    return func.now() - age


_new = insert(WorkerJob).values(
    started_at=_ago("started"), finished_at=_ago("finished"), failed_at=_ago("failed"), instance_id=bindparam("by")
)


def _of_the_later(time: InstrumentedAttribute[Any], *columns: InstrumentedAttribute[Any]) -> dict[str, Any]:
    """Take a time, and what belongs to it, from whichever is later: what is stored, or what is reported."""
    reported = _new.excluded[time.key]
    is_later = or_(time.is_(None), reported >= time)
    return {column.key: case((is_later, _new.excluded[column.key]), else_=column) for column in (time, *columns)}


_ADD = _new.on_conflict_do_update(
    index_elements=[WorkerJob.name],
    set_={
        "interval_seconds": _new.excluded.interval_seconds,
        "rounds": WorkerJob.rounds + _new.excluded.rounds,
        "failures": WorkerJob.failures + _new.excluded.failures,
        "handled": WorkerJob.handled + _new.excluded.handled,
        **_of_the_later(WorkerJob.started_at, WorkerJob.instance_id),
        **_of_the_later(WorkerJob.finished_at, WorkerJob.duration_ms, WorkerJob.last_handled),
        **_of_the_later(WorkerJob.failed_at, WorkerJob.error),
    },
)

_KEPT = timedelta(days=30)
"""How long a job is remembered that nobody does any more."""
_PURGE = batch_deletion.delete_statement(WorkerJob.name, WorkerJob.started_at <= func.now() - _KEPT)


async def add_reports(connection: AsyncConnection, instance_id: UUID, reports: Sequence[JobReport]) -> None:
    """Add what a worker reports to what is known: all of it or nothing, in one round trip."""
    # In one order, so that two workers do not wait for each other.
    rows = [asdict(report) | {"by": instance_id} for report in sorted(reports, key=lambda report: report.name)]
    await connection.execute(_ADD, rows)


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Forget jobs that nobody has done for long, `limit` at most, and say how many."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
