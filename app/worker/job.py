"""Work that is done again and again, and how it goes."""

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
from app.database.repositories.operations import worker_jobs
from app.database.repositories.operations.worker_jobs import JobReport

logger = logging.getLogger(__name__)

_JITTER = 0.2
"""Share of its interval by which a job's pause may differ, so that workers do not all come at once."""
_RUN_TIMEOUT = 60.0
"""Seconds one round of a job may take."""


@dataclass(slots=True)
class JobStats:
    """How the rounds of a job went, in this process. Times are of the monotonic clock; None: there was none."""

    made: int = 0
    failures: int = 0
    handled: int = 0
    """How much there was to do."""
    started: float | None = None
    finished: float | None = None
    """When one last ended well, and of that one:"""
    seconds: float = 0.0
    last_handled: int = 0
    failed: float | None = None
    """When one last failed, and what of."""
    error: str | None = None

    def start(self) -> None:
        """Note that a round begins."""
        self.started = time.monotonic()

    def end(self, handled: int) -> None:
        """Note that it ended well."""
        self.finished = time.monotonic()
        self.seconds = self.finished - (self.started or self.finished)
        self.made += 1
        self.handled += handled
        self.last_handled = handled

    def fail(self, error: Exception) -> None:
        """Note that it failed."""
        self.failed = time.monotonic()
        self.error = type(error).__name__
        self.made += 1
        self.failures += 1


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is done again and again."""

    name: str
    interval: float
    """Seconds between rounds, about."""
    work: Callable[[], Awaitable[int]]
    """Makes one round, and says how much there was to do."""
    rounds: JobStats = field(default_factory=JobStats)

    async def run(self, stopping: asyncio.Event) -> None:
        """Make rounds until the worker stops, whatever happens to PostgreSQL meanwhile."""
        is_away = False
        while not stopping.is_set():
            self.rounds.start()
            try:
                async with asyncio.timeout(_RUN_TIMEOUT):
                    done = await self.work()
            except (DatabaseUnavailableError, TimeoutError) as error:
                self.rounds.fail(error)
                if not is_away:
                    logger.warning("job waits for the database", extra={"job": self.name})
                is_away = True
            except Exception as error:
                self.rounds.fail(error)
                logger.exception("job failed", extra={"job": self.name})
            else:
                self.rounds.end(done)
                if is_away:
                    logger.info("job goes on", extra={"job": self.name})
                is_away = False
                logger.log(logging.INFO if done else logging.DEBUG, "job done", extra={"job": self.name, "count": done})
            with suppress(TimeoutError):
                pause = self.interval * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - not a secret
                await asyncio.wait_for(stopping.wait(), pause)


class JobReporter:
    """Writes down how jobs go, now and then: a round of its own costs no statement."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = list(jobs)
        self._written = {job.name: JobStats() for job in self._jobs}

    async def write(self, connection: DatabaseConnection, instance_id: UUID) -> None:
        """Write down what has changed. What could not be written is the next time."""
        now = {job.name: replace(job.rounds) for job in self._jobs}
        reports = [
            _report(job, now[job.name], self._written[job.name])
            for job in self._jobs
            if now[job.name] != self._written[job.name]
        ]
        if reports:
            await worker_jobs.add(connection, instance_id, reports)
            self._written = now


def _report(job: Job, now: JobStats, written: JobStats) -> JobReport:
    return JobReport(
        name=job.name,
        interval_seconds=job.interval,
        rounds=now.made - written.made,
        failures=now.failures - written.failures,
        handled=now.handled - written.handled,
        started=_age(now.started),
        finished=_age(now.finished),
        duration_ms=None if now.finished is None else round(now.seconds * 1000),
        last_handled=None if now.finished is None else now.last_handled,
        failed=_age(now.failed),
        error=now.error,
    )


def _age(moment: float | None) -> timedelta | None:
    return None if moment is None else timedelta(seconds=time.monotonic() - moment)
