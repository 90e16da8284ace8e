"""Worker job statistics, added up over all workers."""

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
    """Changes of a job's statistics in one worker since its previous report. Ages refer to the time of the report."""

    name: str
    interval_seconds: float
    rounds: int
    """Runs since the previous report. `failures` and `handled` are of the same runs."""
    failures: int
    handled: int
    started: timedelta | None
    """Age of the start of the last run; None: there was none."""
    finished: timedelta | None
    """Age of the end of the last successful run."""
    duration_ms: int | None
    last_handled: int | None
    failed: timedelta | None
    """Age of the end of the last failed run."""
    error: str | None


def _time_from_age(name: str) -> ColumnElement[Any]:
    age: BindParameter[timedelta] = bindparam(name, type_=Interval)
    return func.now() - age


_new = insert(WorkerJob).values(
    started_at=_time_from_age("started"),
    finished_at=_time_from_age("finished"),
    failed_at=_time_from_age("failed"),
    instance_id=bindparam("by"),
)


def _keep_latest(time: InstrumentedAttribute[Any], *columns: InstrumentedAttribute[Any]) -> dict[str, Any]:
    """Build the values of `time` and `columns`: the reported ones if their time is later, else the stored ones."""
    reported = _new.excluded[time.key]
    is_later = or_(time.is_(None), reported >= time)
    return {column.key: case((is_later, _new.excluded[column.key]), else_=column) for column in (time, *columns)}


_ADD_REPORT = _new.on_conflict_do_update(
    index_elements=[WorkerJob.name],
    set_={
        "interval_seconds": _new.excluded.interval_seconds,
        "rounds": WorkerJob.rounds + _new.excluded.rounds,
        "failures": WorkerJob.failures + _new.excluded.failures,
        "handled": WorkerJob.handled + _new.excluded.handled,
        **_keep_latest(WorkerJob.started_at, WorkerJob.instance_id),
        **_keep_latest(WorkerJob.finished_at, WorkerJob.duration_ms, WorkerJob.last_handled),
        **_keep_latest(WorkerJob.failed_at, WorkerJob.error),
    },
)

_MAX_AGE = timedelta(days=30)
"""Time without a run after which the statistics of a job are purged."""
_PURGE = batch_deletion.delete_statement(WorkerJob.name, WorkerJob.started_at <= func.now() - _MAX_AGE)


async def add_reports(connection: AsyncConnection, instance_id: UUID, reports: Sequence[JobReport]) -> None:
    """Add a worker's reports to the stored statistics, atomically and in one round trip."""
    # All workers lock the rows in the order of the names, so they cannot deadlock.
    rows = [asdict(report) | {"by": instance_id} for report in sorted(reports, key=lambda report: report.name)]
    await connection.execute(_ADD_REPORT, rows)


async def purge(connection: AsyncConnection, *, limit: int) -> int:
    """Delete the statistics of at most `limit` jobs without recent runs; return their number."""
    return await batch_deletion.delete_batch(connection, _PURGE, limit=limit)
