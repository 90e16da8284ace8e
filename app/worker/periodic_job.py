"""Periodic job with its run statistics, and the reporter that stores them."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import DatabaseConnection
from app.database.repositories.operations import job_statistics
from app.database.repositories.operations.job_statistics import JobReport

logger = logging.getLogger(__name__)

_JITTER = 0.2
"""Fraction of the interval by which a pause is randomly shortened or lengthened, so that workers spread their runs."""
_RUN_TIMEOUT = 60.0
"""Timeout of one run of a job in seconds."""


@dataclass(slots=True)
class JobStats:
    """Statistics of a job's runs in this process. Times are of the monotonic clock; None: no such run yet."""

    runs: int = 0
    failures: int = 0
    handled: int = 0
    """Number of items processed in all runs."""
    started_at: float | None = None
    finished_at: float | None = None
    """End of the last successful run."""
    last_duration: float = 0.0
    """Duration of the last successful run in seconds."""
    last_handled: int = 0
    """Number of items processed in the last successful run."""
    failed_at: float | None = None
    """End of the last failed run."""
    error: str | None = None
    """Class name of the last failure."""

    def record_start(self) -> None:
        """Record the start of a run."""
        self.started_at = time.monotonic()

    def record_success(self, handled: int) -> None:
        """Record the end of a successful run that processed `handled` items."""
        self.finished_at = time.monotonic()
        self.last_duration = self.finished_at - (self.started_at or self.finished_at)
        self.runs += 1
        self.handled += handled
        self.last_handled = handled

    def record_failure(self, error: Exception) -> None:
        """Record the end of a failed run."""
        self.failed_at = time.monotonic()
        self.error = type(error).__name__
        self.runs += 1
        self.failures += 1


@dataclass(frozen=True, slots=True)
class Job:
    """A function that a worker runs periodically."""

    name: str
    interval: float
    """Average pause between two runs in seconds."""
    run_once: Callable[[], Awaitable[int]]
    """Does one run and returns the number of items processed."""
    stats: JobStats = field(default_factory=JobStats)

    async def run(self, stopping: asyncio.Event) -> None:
        """Run the job periodically until `stopping` is set. Failures are logged and do not end the loop."""
        is_waiting = False
        while not stopping.is_set():
            self.stats.record_start()
            try:
                async with asyncio.timeout(_RUN_TIMEOUT):
                    handled = await self.run_once()
            except (DatabaseUnavailableError, TimeoutError) as error:
                self.stats.record_failure(error)
                if not is_waiting:
                    logger.warning("job waiting for database", extra={"job": self.name})
                is_waiting = True
            except Exception as error:
                self.stats.record_failure(error)
                logger.exception("job failed", extra={"job": self.name})
            else:
                self.stats.record_success(handled)
                if is_waiting:
                    logger.info("job recovered", extra={"job": self.name})
                is_waiting = False
                level = logging.INFO if handled else logging.DEBUG
                logger.log(level, "job completed", extra={"job": self.name, "count": handled})
            with suppress(TimeoutError):
                pause = self.interval * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not a secret
                await asyncio.wait_for(stopping.wait(), pause)


class JobReporter:
    """Stores job statistics with the worker's heartbeat, so that a run needs no statement of its own for them."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = list(jobs)
        self._reported = {job.name: JobStats() for job in self._jobs}

    async def write(self, connection: DatabaseConnection, instance_id: UUID) -> None:
        """Store the statistics that changed since the last successful call."""
        current = {job.name: replace(job.stats) for job in self._jobs}
        reports = [
            _job_report(job, current[job.name], self._reported[job.name])
            for job in self._jobs
            if current[job.name] != self._reported[job.name]
        ]
        if reports:
            await job_statistics.add_reports(connection, instance_id, reports)
            self._reported = current


def _job_report(job: Job, current: JobStats, reported: JobStats) -> JobReport:
    return JobReport(
        name=job.name,
        interval_seconds=job.interval,
        rounds=current.runs - reported.runs,
        failures=current.failures - reported.failures,
        handled=current.handled - reported.handled,
        started=_age(current.started_at),
        finished=_age(current.finished_at),
        duration_ms=None if current.finished_at is None else round(current.last_duration * 1000),
        last_handled=None if current.finished_at is None else current.last_handled,
        failed=_age(current.failed_at),
        error=current.error,
    )


def _age(moment: float | None) -> timedelta | None:
    return None if moment is None else timedelta(seconds=time.monotonic() - moment)
