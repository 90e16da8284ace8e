"""Connection pool."""

import asyncio
from contextlib import closing, suppress

import pytest
from sqlalchemy import make_url, text

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database
from app.database.repositories.turns.turns import ActiveTurnError
from tests.fixtures.database import Sql
from tests.support.waiting import eventually


async def test_overflow_connections_are_closed_after_a_burst(
    settings: Settings, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    few = settings.model_copy(update={"DATABASE_POOL_SIZE": 2, "DATABASE_MAX_OVERFLOW": 8})
    database = Database.from_settings(few, application_name="burst")

    async def use() -> None:
        async with database.driver_connection() as connection:
            await connection.fetch("SELECT pg_sleep(0.2)")

    await asyncio.gather(*(use() for _ in range(10)))
    # The server takes a moment to end its side of a connection.
    await eventually(lambda: sql.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'burst'") <= 2)
    await database.close()
    assert caplog.messages == []


async def backend_pid(database: Database, error: Exception | None = None) -> int:
    """Use a connection, raise `error` on it if given, and return the id of its server process."""
    async with database.driver_connection() as connection:
        pid = int(await connection.fetchval("SELECT pg_backend_pid()"))
        if error is not None:
            raise type(error)(pid)
    return pid


async def test_a_refused_statement_does_not_close_the_connection(pool: Database) -> None:
    pids = {await backend_pid(pool)}
    for _ in range(3):
        with pytest.raises(ActiveTurnError) as refused:
            await backend_pid(pool, ActiveTurnError())
        pids.add(refused.value.args[0])
    assert pids == {await backend_pid(pool)}


async def test_a_connection_interrupted_by_an_error_is_not_reused(pool: Database) -> None:
    before = await backend_pid(pool)
    with pytest.raises(DatabaseUnavailableError):
        await backend_pid(pool, TimeoutError())
    assert await backend_pid(pool) != before


@pytest.mark.parametrize("method", ["driver_connection", "autocommit", "read_only", "transaction"])
async def test_a_refused_connection_is_reported_as_unavailable(settings: Settings, method: str) -> None:
    missing_database = make_url(settings.DATABASE_URL).set(database="nothing").render_as_string(hide_password=False)
    refused = Database.from_settings(
        settings.model_copy(update={"DATABASE_URL": missing_database}), application_name="refused"
    )
    with pytest.raises(DatabaseUnavailableError):
        async with getattr(refused, method)() as connection:
            await connection.execute(text("SELECT 1"))
    await refused.close()


@pytest.mark.parametrize("method", ["driver_connection", "autocommit", "read_only", "transaction"])
@pytest.mark.parametrize("steps", range(5))
async def test_a_connection_that_the_server_is_ending_is_reported_as_unavailable(
    pool: Database, service_database_url: str, method: str, steps: int
) -> None:
    pid = await backend_pid(pool)
    with closing(Sql(service_database_url)) as other:
        other.do("SELECT pg_terminate_backend(%s, 5000)", [pid])
    # asyncpg receives the last message of the server and the end of the connection in different steps of the loop.
    for _ in range(steps):
        await asyncio.sleep(0)
    with suppress(DatabaseUnavailableError):
        async with getattr(pool, method)() as connection:
            if method == "driver_connection":
                await connection.fetch("SELECT 1")
            else:
                await connection.execute(text("SELECT 1"))
    assert await backend_pid(pool) != pid
