"""URLs as the two drivers want them, and the connections of the pool."""

import asyncio

import pytest
from sqlalchemy import make_url, text

from app.config import Settings
from app.core.exceptions import DatabaseUnavailableError
from app.database.connection import Database, async_url, sync_url
from app.database.repositories.chat.turns import ActiveTurnError
from tests.fixtures.database import Sql


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_tls_is_asked_of_each_driver_in_its_own_words(mode: str) -> None:
    given = f"postgresql://u:p@h:5433/d?sslmode={mode}"
    url, arguments = async_url(given)
    assert (url.render_as_string(hide_password=False), arguments) == (
        "postgresql+asyncpg://u:p@h:5433/d",
        {"ssl": mode},
    )
    assert sync_url(given).query == {"sslmode": mode}


def test_a_unix_socket_stays_in_the_url() -> None:
    url, arguments = async_url("postgresql://u@/d?host=%2Ftmp%2Fs")
    assert (url.query, arguments) == ({"host": "/tmp/s"}, {})  # noqa: S108 - nothing is opened


async def test_connections_of_a_burst_are_closed_when_it_is_over(
    settings: Settings, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    few = settings.model_copy(update={"DATABASE_POOL_SIZE": 2, "DATABASE_MAX_OVERFLOW": 8})
    database = Database.from_settings(few, application_name="a burst")

    async def use() -> None:
        async with database.driver_connection() as connection:
            await connection.fetch("SELECT pg_sleep(0.2)")

    await asyncio.gather(*(use() for _ in range(10)))
    left = sql.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'a burst'")
    await database.close()
    assert left <= 2
    assert caplog.messages == []


async def process_of(database: Database, error: Exception | None = None) -> int:
    """Use a connection, and fail, if so told. Return which process of the server it led to."""
    async with database.driver_connection() as connection:
        process = int(await connection.fetchval("SELECT pg_backend_pid()"))
        if error is not None:
            raise type(error)(process)
    return process


async def test_a_connection_outlives_what_is_refused_over_it(pool: Database) -> None:
    processes = {await process_of(pool)}
    for _ in range(3):
        with pytest.raises(ActiveTurnError) as refused:
            await process_of(pool, ActiveTurnError())
        processes.add(refused.value.args[0])
    assert processes == {await process_of(pool)}


async def test_a_connection_that_was_left_in_the_middle_is_not_used_again(pool: Database) -> None:
    before = await process_of(pool)
    with pytest.raises(DatabaseUnavailableError):
        await process_of(pool, TimeoutError())
    assert await process_of(pool) != before


@pytest.mark.parametrize("way", ["driver_connection", "autocommit", "read_only", "transaction"])
async def test_a_server_that_refuses_a_connection_is_away(settings: Settings, way: str) -> None:
    nowhere = make_url(settings.DATABASE_URL).set(database="nothing").render_as_string(hide_password=False)
    refused = Database.from_settings(settings.model_copy(update={"DATABASE_URL": nowhere}), application_name="refused")
    with pytest.raises(DatabaseUnavailableError):
        async with getattr(refused, way)() as connection:
            await connection.execute(text("SELECT 1"))
    await refused.close()
