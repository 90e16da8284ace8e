"""Periodic jobs and their stored statistics."""

import asyncio
import logging
from datetime import timedelta
from uuid import uuid4

import pytest

from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.repositories.operations import job_statistics
from app.worker.periodic_job import Job, JobReporter
from tests.fixtures.database import Sql
from tests.support.waiting import LONGEST_WAIT


async def run_job(*outcomes: Exception | int) -> Job:
    """Return a job that has run once with each outcome."""
    remaining = list(outcomes)
    stopping = asyncio.Event()

    async def run_once() -> int:
        outcome = remaining.pop(0)
        if not remaining:
            stopping.set()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    job = Job("test", 0.001, run_once)
    await asyncio.wait_for(job.run(stopping), LONGEST_WAIT)
    assert remaining == []
    return job


async def test_a_job_continues_after_failures_and_logs_an_outage_once(caplog: pytest.LogCaptureFixture) -> None:
    outage, fault = DatabaseUnavailableError(), ZeroDivisionError("canary")
    with caplog.at_level(logging.INFO):
        await run_job(outage, outage, outage, 7, fault, TimeoutError(), 0)
    # Services of other tests in this process log, too.
    assert [record.message for record in caplog.records if record.message.startswith("job")] == [
        "job waiting for database",
        "job recovered",
        "job completed",
        "job failed",
        "job waiting for database",
        "job recovered",
    ]


async def test_statistics_of_all_workers_are_added_up_and_the_last_run_is_stored(pool: Database, sql: Sql) -> None:
    first, second = uuid4(), uuid4()
    async with pool.autocommit() as connection:
        await JobReporter([await run_job(7, ZeroDivisionError("canary"), 5)]).write(connection, first)
        await JobReporter([await run_job(DatabaseUnavailableError(), 1)]).write(connection, second)
    (row,) = sql.rows("SELECT *, now() - finished_at < interval '1 min' AS just_now FROM worker_jobs")
    assert (
        row.items()
        >= {
            "name": "test",
            "interval_seconds": 0.001,
            "rounds": 5,
            "failures": 2,
            "handled": 13,
            "last_handled": 1,
            "instance_id": second,
            "error": "DatabaseUnavailableError",
            "just_now": True,
        }.items()
    )
    assert row["failed_at"] <= row["started_at"] <= row["finished_at"]


async def test_a_late_report_adds_to_the_counters_and_keeps_newer_times(pool: Database, sql: Sql) -> None:
    late_run, last = uuid4(), uuid4()
    old = timedelta(hours=1)
    report = job_statistics.JobReport("test", 1, 1, 1, 2, old, old, 99, 2, old, "LateError")
    async with pool.autocommit() as connection:
        await JobReporter([await run_job(ValueError(), 5)]).write(connection, last)
        (before,) = sql.rows("SELECT * FROM worker_jobs")
        await job_statistics.add_reports(connection, late_run, [report])
    (after,) = sql.rows("SELECT * FROM worker_jobs")
    assert after == before | {"rounds": 3, "failures": 2, "handled": 7, "interval_seconds": 1}


async def test_unchanged_statistics_are_not_stored_again(pool: Database, sql: Sql) -> None:
    reports = JobReporter([await run_job(3)])
    async with pool.autocommit() as connection:
        await reports.write(connection, uuid4())
        sql.do("DELETE FROM worker_jobs")
        await reports.write(connection, uuid4())
    assert sql.rows("SELECT * FROM worker_jobs") == []


async def test_statistics_are_stored_by_the_next_report_after_a_failure(pool: Database, sql: Sql) -> None:
    reports = JobReporter([await run_job(3)])

    async def write(max_seconds: float) -> None:
        async with pool.autocommit(max_seconds=max_seconds) as connection:
            await reports.write(connection, uuid4())

    sql.do("BEGIN; LOCK TABLE worker_jobs")
    try:
        with pytest.raises(DatabaseUnavailableError):
            await write(0.5)
    finally:
        sql.do("ROLLBACK")
    await write(LONGEST_WAIT)
    assert sql.value("SELECT handled FROM worker_jobs") == 3


async def test_concurrent_reports_are_all_counted_and_do_not_deadlock(pool: Database, sql: Sql) -> None:
    def report(name: str) -> job_statistics.JobReport:
        now = timedelta()
        return job_statistics.JobReport(name, 1, 1, 0, 2, now, now, 1, 2, None, None)

    names = [f"job {number}" for number in range(300)]

    async def publish(order: list[str]) -> None:
        for _ in range(10):
            async with pool.autocommit() as connection:
                await job_statistics.add_reports(connection, uuid4(), [report(name) for name in order])

    await asyncio.gather(publish(names), publish(names[::-1]), publish(names))
    assert sql.rows("SELECT DISTINCT rounds, handled FROM worker_jobs") == [{"rounds": 30, "handled": 60}]
