"""Heartbeats of processes."""

import asyncio
import logging
from uuid import UUID

import pytest
from sqlalchemy import text

from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database, DatabaseConnection
from app.database.repositories.operations import instances
from app.services import heartbeat as heartbeat_module
from app.services.heartbeat import Heartbeat
from tests.fixtures.database import Sql
from tests.support.waiting import LONGEST_WAIT

VERSION = "7.0.1"
# Other tests may have services in this process, with the version of the release.
ROWS = "SELECT * FROM service_instances WHERE version = '7.0.1'"


@pytest.fixture
def heartbeat(pool: Database, sql: Sql) -> Heartbeat:
    return Heartbeat(pool, service="worker", version=VERSION)


async def test_a_process_has_one_row_with_its_current_state(heartbeat: Heartbeat, sql: Sql) -> None:
    figures = [1, 2]
    heartbeat.add_stats("waiting", lambda: figures.pop(0))
    await heartbeat.beat()
    (first,) = sql.rows(ROWS)
    await heartbeat.beat()
    (second,) = sql.rows(ROWS)
    assert (first["service"], first["version"], first["state"]) == ("worker", VERSION, {"waiting": 1})
    assert second == first | {"state": {"waiting": 2}, "seen_at": second["seen_at"]}
    assert second["started_at"] < first["seen_at"] < second["seen_at"]


async def test_the_heartbeats_own_connection_is_not_counted(heartbeat: Heartbeat, pool: Database, sql: Sql) -> None:
    heartbeat.add_stats("database", pool.pool_stats)
    async with pool.autocommit() as connection:
        await connection.execute(text("SELECT 1"))
        await heartbeat.beat()
    assert sql.value("SELECT state -> 'database' -> 'in_use' FROM service_instances WHERE version = %s", [VERSION]) == 1


async def test_heartbeats_continue_after_errors_and_the_row_is_removed_at_the_end(
    heartbeat: Heartbeat, sql: Sql, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat_module, "HEARTBEAT_INTERVAL", 0.01)
    outcomes: list[Exception | None] = [DatabaseUnavailableError(), ZeroDivisionError("a fault"), None, None]
    done = asyncio.Event()

    async def report(_connection: DatabaseConnection, instance_id: UUID) -> None:
        assert instance_id == heartbeat.instance.id
        outcome = outcomes.pop(0) if outcomes else None
        if not outcomes:
            done.set()
        if outcome:
            raise outcome

    heartbeat.add_report(report)
    with caplog.at_level(logging.INFO):
        heartbeat.start()
        await asyncio.wait_for(done.wait(), LONGEST_WAIT)
    assert [record.message for record in caplog.records] == ["heartbeat failed"]
    assert len(sql.rows(ROWS)) == 1
    reported: list[UUID] = []

    async def last(_connection: DatabaseConnection, instance_id: UUID) -> None:
        reported.append(instance_id)

    heartbeat.add_report(last)
    await heartbeat.close()
    assert set(reported) == {heartbeat.instance.id}
    assert sql.rows(ROWS) == []


async def test_a_failure_does_not_prevent_the_process_from_ending(heartbeat: Heartbeat, sql: Sql) -> None:
    await heartbeat.close()  # it was not started

    async def fault(_connection: DatabaseConnection, _id: UUID) -> None:
        raise ZeroDivisionError

    heartbeat.start()
    heartbeat.add_report(fault)
    sql.do("BEGIN; LOCK TABLE service_instances")
    try:
        await asyncio.wait_for(heartbeat.close(), 8)
    finally:
        sql.do("ROLLBACK")


async def test_the_row_of_a_killed_process_is_purged_after_a_day(
    heartbeat: Heartbeat, pool: Database, sql: Sql
) -> None:
    await heartbeat.beat()
    async with pool.autocommit() as connection:
        sql.do("UPDATE service_instances SET seen_at = now() - interval '23 hours' WHERE version = %s", [VERSION])
        assert await instances.purge(connection, limit=10) == 0
        sql.do("UPDATE service_instances SET seen_at = now() - interval '25 hours' WHERE version = %s", [VERSION])
        assert await instances.purge(connection, limit=10) == 1
