"""Concurrent use of attempt counters."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.config import Settings
from app.database.connection import Database
from app.database.repositories.accounts import attempt_counters
from tests.fixtures.database import Sql
from tests.support.provider import Provider

KEYS = ["network:1", "name:1", "account:1"]


@pytest.fixture
async def database(settings: Settings, sql: Sql) -> AsyncIterator[Database]:
    database = Database.from_settings(settings, application_name="test")
    yield database
    await database.close()


async def test_concurrent_counts_and_refunds_are_exact(database: Database, sql: Sql) -> None:
    async def count_and_refund() -> None:
        for _ in range(20):
            async with database.autocommit() as connection:
                await attempt_counters.count_all(connection, KEYS, window=timedelta(minutes=15))
            async with database.transaction() as session:
                await attempt_counters.refund(session, KEYS)

    await asyncio.gather(*(count_and_refund() for _ in range(10)))
    assert [row["attempts"] for row in sql.rows("SELECT attempts FROM login_throttles")] == [0, 0, 0]


@pytest.mark.parametrize("write", [attempt_counters.refund, attempt_counters.remove])
async def test_counters_are_locked_in_sorted_order(
    database: Database, sql: Sql, write: Callable[[AsyncSession, Sequence[str]], Awaitable[None]]
) -> None:
    for key in KEYS:  # inserted in reverse order, in which a sequential scan finds them
        sql.do("INSERT INTO login_throttles VALUES (%s, 1, now() + interval '1 hour')", [key])

    async def writing() -> None:
        async with database.transaction() as session:
            await write(session, KEYS)

    sql.do("BEGIN; SELECT FROM login_throttles WHERE key = 'account:1' FOR UPDATE")
    try:
        task = asyncio.create_task(writing())
        await asyncio.to_thread(
            Provider.wait_until, lambda: sql.value("SELECT count(*) FROM pg_locks WHERE NOT granted")
        )
        assert len(sql.rows("SELECT key FROM login_throttles FOR UPDATE NOWAIT")) == len(KEYS)
    finally:
        sql.do("COMMIT")
    await task
