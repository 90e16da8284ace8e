"""Overload of this process is not reported as an outage of PostgreSQL."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from app import main
from app.config import Settings
from app.core.exceptions import DatabaseBusyError, DatabaseUnavailableError
from app.database import connection
from app.database.connection import Database
from app.database.repositories.accounts import users
from app.database.repositories.accounts.users import NewUser
from tests.fixtures.database import Sql
from tests.fixtures.services import CHAT, User, assert_problem
from tests.support.waiting import eventually

METHODS = ["driver_connection", "autocommit", "read_only", "transaction"]


@pytest.fixture
async def single(settings: Settings) -> AsyncIterator[Database]:
    """A pool of one connection, which waits shortly for it."""
    update = {"DATABASE_POOL_SIZE": 1, "DATABASE_MAX_OVERFLOW": 0, "DATABASE_POOL_TIMEOUT": 0.2}
    database = Database.from_settings(settings.model_copy(update=update), application_name="single")
    await database.ping()
    yield database
    await database.close()


async def hold(database: Database, release: asyncio.Event) -> int:
    """Hold a connection, and return the id of its server process."""
    async with database.driver_connection() as connection:
        await release.wait()
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("max_seconds", [None, 5.0])
async def test_full_pool_is_an_overload(single: Database, method: str, max_seconds: float | None) -> None:
    release = asyncio.Event()
    holding = asyncio.create_task(hold(single, release))
    await eventually(lambda: single.pool_stats()["in_use"] == 1)
    with pytest.raises(DatabaseBusyError) as error:
        async with getattr(single, method)(max_seconds=max_seconds) as connection:
            await connection.execute(text("SELECT 1"))
    assert error.value.code == "overloaded"
    assert error.value.headers["Retry-After"] == "1"
    assert single.seconds_since_recovery() > 0
    release.set()
    # The connection of the other one was not thrown away.
    pid = await holding
    assert pid == await hold(single, release)


async def test_deadline_begins_when_the_connection_is_there(single: Database) -> None:
    single.engine.pool._timeout = 60  # type: ignore[attr-defined] # of QueuePool
    release = asyncio.Event()
    holding = asyncio.create_task(hold(single, release))
    await eventually(lambda: single.pool_stats()["in_use"] == 1)

    async def work() -> int:
        async with single.driver_connection(max_seconds=2.5) as connection:
            return int(await connection.fetchval("SELECT pg_backend_pid() FROM pg_sleep(1)"))

    working = asyncio.create_task(work())
    await asyncio.sleep(2)
    release.set()
    assert await working == await holding


@pytest.fixture
def slow_commits(sql: Sql) -> Iterator[None]:
    """Every commit of a new account takes two seconds."""
    sql.do(
        """
        CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(2); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait_at_commit()
        """
    )
    yield
    sql.do("DROP FUNCTION wait_at_commit CASCADE")


async def test_commit_is_not_cut_short_by_the_time_of_the_block(pool: Database, sql: Sql, slow_commits: None) -> None:
    account = NewUser(email="ada@example.com", username="ada", password_hash="-")
    async with pool.transaction(max_seconds=3) as transaction:
        await users.create(transaction, account)
        await asyncio.sleep(2)
    # A client that were told to try again would find the account taken.
    assert sql.value("SELECT count(*) FROM users") == 1


async def test_lock_of_another_request_is_an_overload(pool: Database, sql: Sql) -> None:
    async def lock(seconds: float) -> None:
        async with pool.transaction() as transaction:
            await transaction.execute(text("SET LOCAL lock_timeout = '50ms'"))
            await transaction.execute(text("SELECT pg_advisory_xact_lock(7), pg_sleep(:seconds)"), {"seconds": seconds})

    first = asyncio.create_task(lock(0.5))
    await eventually(lambda: sql.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7"))
    with pytest.raises(DatabaseBusyError):
        await lock(0)
    await first
    assert pool.seconds_since_recovery() > 0


async def test_timeout_is_an_outage_only_if_nobody_else_succeeds(pool: Database) -> None:
    async def wait() -> None:
        async with pool.autocommit(max_seconds=0.3) as connection:
            await connection.execute(text("SELECT pg_sleep(10)"))

    waiting = asyncio.create_task(wait())
    while not waiting.done():
        await pool.ping()
        await asyncio.sleep(0.01)
    with pytest.raises(DatabaseBusyError):
        await waiting
    assert pool.seconds_since_recovery() > 0
    with pytest.raises(DatabaseUnavailableError) as error:
        await wait()
    assert error.value.code == "database_unavailable"
    assert pool.seconds_since_recovery() == 0


@pytest.fixture
def single_service(settings: Settings, sql: Sql) -> Iterator[TestClient]:
    """A chat service with one connection."""
    update = {"DATABASE_POOL_SIZE": 1, "DATABASE_MAX_OVERFLOW": 0, "DATABASE_POOL_TIMEOUT": 0.2}
    with TestClient(main.create(settings.model_copy(update=update))) as client:
        yield client


async def wait_without_the_processor(database: Database, seconds: float) -> None:
    """Wait in PostgreSQL beyond the timeout, while this process does nothing for `seconds`."""
    async with database.autocommit(max_seconds=0.3) as open_connection:
        asyncio.get_running_loop().call_later(0.1, time.sleep, seconds)
        await open_connection.execute(text("SELECT pg_sleep(10)"))


async def test_timeout_that_is_noticed_late_is_an_overload(pool: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await pool.ping()
    with pytest.raises(DatabaseBusyError):
        await wait_without_the_processor(pool, 0.6)
    assert pool.seconds_since_recovery() > 0
    # Not for ever: PostgreSQL may be unavailable, too.
    monkeypatch.setattr(connection, "_MAX_LATE_SECONDS", 0.1)
    with pytest.raises(DatabaseUnavailableError) as error:
        await wait_without_the_processor(pool, 0.6)
    assert not isinstance(error.value, DatabaseBusyError)
    assert pool.seconds_since_recovery() == 0


def test_full_pool_is_no_outage_for_clients_and_health_checks(
    single_service: TestClient, make_user: Callable[[str], User]
) -> None:
    ada = make_user("ada")
    database = single_service.app_state["resources"].database
    release = asyncio.Event()
    assert single_service.portal is not None
    holding = single_service.portal.start_task_soon(hold, database, release)
    response = single_service.get(f"{CHAT}/sessions", headers=ada.headers)
    assert_problem(response, 503, "overloaded")
    assert single_service.get("/health").json()["checks"]["database"] == "up"
    single_service.portal.call(release.set)
    holding.result()
    assert single_service.get(f"{CHAT}/sessions", headers=ada.headers).status_code == 200
