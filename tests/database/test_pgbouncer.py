"""Services and migrations through PgBouncer, if it is installed (Debian: `pgbouncer`)."""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg2
import pytest
from fastapi.testclient import TestClient
from redis import Redis
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from app import admin_main, auth_main, main
from app.config import ConfigurationError, Settings, get_migration_url
from app.config.database_url import DatabaseUrl, parse_database_url
from app.core.exceptions import DatabaseUnavailableError
from app.database import migrations
from app.database.connection import REQUEST_TIMEOUT, Database
from app.database.repositories.usage import rollup
from app.services.search.indexer import SearchIndexer
from tests.fixtures.services import ADMIN, Chat, User, login, register
from tests.support.provider import Provider, answers
from tests.support.waiting import wait_until

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
_MODES = {
    "session": "ignore_startup_parameters = jit, lock_timeout, statement_timeout\n",
    # As few server connections as possible, so that clients use each other's.
    "transaction": "default_pool_size = 2\nserver_reset_query_always = 0\n",
}

needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def pooled_url(empty_database_url: str, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Function that returns the URL of an empty database through PgBouncer in a mode, as the documents say."""
    url = parse_database_url(empty_database_url)
    with ExitStack() as stack:
        yield lambda mode: stack.enter_context(_running_pgbouncer(url, tmp_path, mode))


@contextmanager
def _running_pgbouncer(url: DatabaseUrl, home: Path, mode: str) -> Iterator[str]:
    port, directory = free_port(), Path(url.hosts[0])
    configuration = home / f"{mode}.ini"
    configuration.write_text(
        f"[databases]\n* = host={directory} port={url.ports[0]} user={url.user}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\n{_MODES[mode]}"
    )
    command = [str(PGBOUNCER), str(configuration)]
    if os.getuid() == 0:  # it refuses to run as root
        for path in (configuration, *configuration.parents[:3]):
            path.chmod(0o755)
        command += ["-u", directory.owner()]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        pooled = f"postgresql://{url.user}@127.0.0.1:{port}/{url.database}"

        def accepts_connections() -> bool:
            try:
                psycopg2.connect(pooled, connect_timeout=2).close()
            except psycopg2.OperationalError:
                return False
            return True

        wait_until(accepts_connections)
        yield pooled
        process.terminate()


@needs_pgbouncer
async def test_services_and_migrations_work_in_session_mode(
    settings: Settings, pooled_url: Callable[[str], str]
) -> None:
    url = pooled_url("session")
    migrations.upgrade(url)
    database = Database.from_settings(settings.model_copy(update={"DATABASE_URL": url}), application_name="pooled")
    for _number in range(3):
        async with database.driver_connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM users WHERE username = $1", "ada") == 0
            assert await connection.fetchval("SHOW timezone") == "UTC"
    await database.ping()
    await database.close()


@pytest.fixture
def pooled_settings(settings: Settings, pooled_url: Callable[[str], str], empty_database_url: str) -> Settings:
    """Settings for a migrated database through PgBouncer in transaction mode."""
    migrations.upgrade(empty_database_url)
    changes = {"DATABASE_URL": pooled_url("transaction"), "DATABASE_POOL_MODE": "transaction"}
    return settings.model_copy(update=changes | {"DATABASE_COMMAND_TIMEOUT": 5})


@pytest.fixture
async def pooled(pooled_settings: Settings) -> AsyncIterator[Database]:
    database = Database.from_settings(pooled_settings, application_name="pooled")
    yield database
    await database.close()


@needs_pgbouncer
async def test_concurrent_statements_do_not_meet_in_transaction_mode(pooled: Database) -> None:
    async def work(number: int) -> None:
        for _round in range(5):
            async with pooled.driver_connection() as connection:
                # Different numbers and types of parameters, so that one statement cannot stand in for another.
                assert await connection.fetchval(f"SELECT $1::int + {number}", 1) == number + 1
            async with pooled.autocommit() as connection_of_sqlalchemy:
                for value in ("a", number):
                    statement = text(f"SELECT CAST(:value AS {'text' if value == 'a' else 'bigint'}), '{number}'")
                    row = (await connection_of_sqlalchemy.execute(statement, {"value": value})).one()
                    assert tuple(row) == (value, str(number))
            async with pooled.transaction() as session:
                first = await session.scalar(text("SELECT txid_current()"))
                assert await session.scalar(text("SELECT txid_current()")) == first

    await asyncio.gather(*(work(number) for number in range(15)))
    async with pooled.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0


@needs_pgbouncer
async def test_settings_hold_in_every_transaction(pooled: Database) -> None:
    names = ("statement_timeout", "lock_timeout", "jit", "timezone", "application_name")
    lock_timeout = f"{REQUEST_TIMEOUT * 1000 - 300:.0f}ms"
    expected = ["4750ms", lock_timeout, "off", "UTC", "pooled"]
    async with pooled.driver_connection() as connection:
        assert [await connection.fetchval(f"SHOW {name}") for name in names] == expected
    async with pooled.transaction() as session:
        assert [await session.scalar(text(f"SHOW {name}")) for name in names] == expected
    async with pooled.read_only() as session:
        assert [await session.scalar(text(f"SHOW {name}")) for name in names] == expected
    with pytest.raises(DatabaseUnavailableError):
        async with pooled.autocommit() as connection_of_sqlalchemy:
            await connection_of_sqlalchemy.execute(text("SELECT pg_sleep(20)"))


@needs_pgbouncer
async def test_statements_of_autocommit_are_independent(pooled: Database) -> None:
    async with pooled.autocommit() as connection:
        await connection.execute(text("CREATE TABLE numbers (number int PRIMARY KEY)"))
        await connection.execute(text("INSERT INTO numbers VALUES (1)"))
        with pytest.raises(IntegrityError):
            await connection.execute(text("INSERT INTO numbers VALUES (1)"))
        await connection.execute(text("INSERT INTO numbers VALUES (2)"))
        with pytest.raises(ProgrammingError):
            await connection.execute(text("SELECT nothing"))
        assert (await connection.execute(text("SELECT number FROM numbers ORDER BY number"))).scalars().all() == [1, 2]
    with pytest.raises(IntegrityError):
        await _insert_numbers(pooled, 3, 1)
    async with pooled.transaction() as session:
        # A caught error of a savepoint does not end the transaction around it.
        await session.execute(text("INSERT INTO numbers VALUES (4)"))
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                await session.execute(text("INSERT INTO numbers VALUES (4)"))
        await session.execute(text("INSERT INTO numbers VALUES (5)"))
    async with pooled.read_only() as session:
        assert (await session.scalars(text("SELECT number FROM numbers ORDER BY number"))).all() == [1, 2, 4, 5]


async def _insert_numbers(database: Database, *numbers: int) -> None:
    async with database.transaction() as session:
        for number in numbers:
            await session.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number})


@needs_pgbouncer
@pytest.mark.usefixtures("cheap_passwords")
def test_services_and_jobs_work_in_transaction_mode(
    pooled_settings: Settings, redis: Redis, provider: Provider, empty_database_url: str
) -> None:
    provider.always(answers("Hello there."))
    with (
        TestClient(auth_main.create(pooled_settings)) as auth,
        TestClient(main.create(pooled_settings)) as chat_service,
        TestClient(admin_main.create(pooled_settings)) as admin,
    ):
        account = register(auth, "ada").raise_for_status().json()
        with psycopg2.connect(empty_database_url) as direct, direct.cursor() as cursor:
            cursor.execute("UPDATE users SET role = 'admin'")
        tokens = login(auth, "ada").raise_for_status().json()
        user = User(account["id"], account["email"], "ada", tokens["access_token"], tokens["refresh_token"])
        chat = Chat(chat_service, user)
        session = chat.open()
        assert chat.ask(session, "Hi")["ai_response"]["content"] == "Hello there."
        streamed = chat.request("POST", f"/sessions/{session}/messages/stream", json={"message": "And?"})
        assert "event: message.completed" in streamed.text
        assert len(chat.messages(session)) == 4
        asyncio.run(_run_jobs(pooled_settings))
        found = chat.request("GET", "/search", params={"q": "hello"}).raise_for_status()
        assert session in found.text
        for path in ("/overview", "/system", "/analytics/usage", "/reports/users.csv"):
            report = admin.get(f"{ADMIN}{path}", headers=user.headers)
            assert report.status_code == 200, report.text
        chat.request("DELETE", f"/sessions/{session}").raise_for_status()


async def _run_jobs(settings: Settings) -> None:
    database = Database.from_settings(settings, application_name="worker")
    try:
        async with database.autocommit() as connection:
            assert await rollup.roll_up(connection, limit=100) == 2
        assert await SearchIndexer(database).index_all() > 0
    finally:
        await database.close()


def test_migrations_require_a_url_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@pooler/d")
    assert get_migration_url() == "postgresql://u@pooler/d"
    monkeypatch.setenv("DATABASE_POOL_MODE", "transaction")
    with pytest.raises(ConfigurationError, match="configuration: MIGRATION_DATABASE_URL: is required"):
        get_migration_url()
    monkeypatch.setenv("MIGRATION_DATABASE_URL", "postgresql://u@server/d")
    assert get_migration_url() == "postgresql://u@server/d"
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@pooler/d?options=-cjit%3Doff")
    with pytest.raises(ConfigurationError, match="DATABASE_URL: options: is not supported"):
        get_migration_url()
