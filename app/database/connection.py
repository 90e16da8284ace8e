"""Connection pool for PostgreSQL, transactions, and translation of driver errors."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, cast

from asyncpg import InterfaceError as DriverInterfaceError
from asyncpg import PostgresError
from sqlalchemy import event, text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool
from sqlalchemy.util import greenlet_spawn

from app.config import DatabaseSettings
from app.core.exceptions import DatabaseUnavailableError, UnauthorizedError
from app.database.drivers import asyncpg_arguments
from app.database.statements import DriverConnection, StatementRefusedError

DatabaseSession = AsyncSession
"""An open transaction. Layers above pass it on under this name, without importing SQLAlchemy."""

DatabaseConnection = AsyncConnection
"""A connection on which each statement is its own transaction, under a name for the layers above."""

REQUEST_TIMEOUT = 1.5
"""Time a request waits for PostgreSQL before it fails with 503, in seconds."""


class Database:
    """A connection pool. The first use opens a connection; `close()` closes all of them."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Wrap an engine, as `from_settings` creates it."""
        self.engine = engine
        # The same pool, without BEGIN and COMMIT around a single statement.
        self._autocommit_engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._available_since: float | None = -math.inf
        """Time of `time.monotonic` since which PostgreSQL has answered. None: it is unavailable."""

    @classmethod
    def from_settings(cls, settings: DatabaseSettings, *, application_name: str) -> Self:
        """Create the engine from the settings. `application_name` is shown in `pg_stat_activity`."""
        arguments = asyncpg_arguments(settings.DATABASE_URL)
        server_settings = {
            "application_name": application_name,
            "timezone": "UTC",
            # Statements take milliseconds: JIT compilation would cost more than it saves.
            "jit": "off",
            # The server times out before its client: it must not commit what was reported as failed.
            "lock_timeout": f"{REQUEST_TIMEOUT * 1000 - 300:.0f}",
            "statement_timeout": f"{settings.DATABASE_COMMAND_TIMEOUT * 950:.0f}",
        }
        engine = create_async_engine(
            "postgresql+asyncpg://",
            pool_size=settings.DATABASE_POOL_SIZE,
            max_overflow=settings.DATABASE_MAX_OVERFLOW,
            pool_timeout=settings.DATABASE_POOL_TIMEOUT,
            # Parameters hold messages, addresses and hashes, which must not appear in error messages and logs.
            hide_parameters=True,
            connect_args={
                "timeout": settings.DATABASE_CONNECT_TIMEOUT,
                "command_timeout": settings.DATABASE_COMMAND_TIMEOUT,
                **arguments,
                "server_settings": server_settings | arguments["server_settings"],
            },
        )
        event.listen(engine.sync_engine, "checkout", _replace_closed)
        event.listen(engine.sync_engine, "invalidate", _terminate)
        return cls(engine)

    @asynccontextmanager
    async def transaction(self, *, max_seconds: float | None = None) -> AsyncIterator[AsyncSession]:
        """Open a transaction. It commits when the block ends and rolls back when the block raises.

        `max_seconds` bounds the whole block, including the wait for a connection.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable or too slow.

        """
        with self._track_availability():
            async with (
                asyncio.timeout(max_seconds),
                AsyncSession(self.engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session

    @asynccontextmanager
    async def read_only(self, *, max_seconds: float | None = None) -> AsyncIterator[AsyncSession]:
        """Open a session for one reading statement. It takes one round trip, without BEGIN and COMMIT.

        `max_seconds` bounds the whole block, including the wait for a connection.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable or too slow.

        """
        with self._track_availability():
            async with asyncio.timeout(max_seconds), AsyncSession(self._autocommit_engine) as session:
                yield session

    @asynccontextmanager
    async def autocommit(self, *, max_seconds: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Open a connection on which each statement is its own transaction: one round trip instead of three.

        `max_seconds` bounds the whole block, including the wait for a connection.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable or too slow.

        """
        with self._track_availability():
            async with asyncio.timeout(max_seconds), self._autocommit_engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def driver_connection(self, *, max_seconds: float | None = None) -> AsyncIterator[DriverConnection]:
        """Open a connection like `autocommit`, but the asyncpg connection itself, for `app.database.statements`.

        `max_seconds` bounds the whole block, including the wait for a connection.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable or too slow.

        """
        with self._track_availability():
            async with asyncio.timeout(max_seconds):
                pooled = await self._connect()
                try:
                    yield cast("DriverConnection", pooled.driver_connection)
                except (PostgresError, StatementRefusedError):
                    raise  # PostgreSQL has answered: the connection is usable, or asyncpg knows that it is closed
                except BaseException:
                    # The connection may be in the middle of a statement.
                    pooled.invalidate()
                    raise
                finally:
                    await self._release(pooled)

    async def _connect(self) -> PoolProxiedConnection:
        try:
            return await self.engine.raw_connection()
        except AsyncAdapt_asyncpg_dbapi.Error as error:
            # The server is starting or stopping, or has no free connection. SQLAlchemy wraps this error elsewhere.
            raise DatabaseUnavailableError from error

    async def _release(self, pooled: PoolProxiedConnection) -> None:
        if cast("QueuePool", self.engine.pool).overflow() > 0:
            # The pool may close an overflow connection, which waits for the server. If that were cancelled, the pool
            # would count the connection as checked out forever.
            await asyncio.shield(greenlet_spawn(pooled.close))
        else:
            pooled.close()

    def pool_stats(self) -> dict[str, int]:
        """Return how many connections of this process are in use and free, and their maximum."""
        pool = cast("QueuePool", self.engine.pool)
        return {"in_use": pool.checkedout(), "free": pool.checkedin(), "max": pool.size() + pool._max_overflow}  # noqa: SLF001 - no public name

    def seconds_since_recovery(self) -> float:
        """Return how long PostgreSQL has been available to this process, in seconds. 0: it is unavailable."""
        return 0.0 if self._available_since is None else time.monotonic() - self._available_since

    async def ping(self) -> None:
        """Run a trivial statement as a health check.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable or too slow.

        """
        async with self.autocommit(max_seconds=REQUEST_TIMEOUT) as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()

    @contextmanager
    def _track_availability(self) -> Iterator[None]:
        try:
            with translate_driver_errors():
                yield
        except DatabaseUnavailableError:
            self._available_since = None
            raise
        if self._available_since is None:
            self._available_since = time.monotonic()


def violated_constraint(error: BaseException) -> str | None:
    """Return the name of the constraint that an error reports as violated. None: it reports none."""
    cause = error.orig.__cause__ if isinstance(error, IntegrityError) and error.orig else error
    name = getattr(cause, "constraint_name", None)
    return str(name) if name else None


class translate_driver_errors:  # noqa: N801 - used like a function
    """Context manager that translates errors of SQLAlchemy and the drivers into errors of the application.

    Raises:
        DatabaseUnavailableError: PostgreSQL is unavailable or too slow.
        UnauthorizedError: the caller's account was erased while the request was served.

    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and _is_outage(error):
            raise DatabaseUnavailableError from error
        if error is not None and (violated_constraint(error) or "").endswith(_ACCOUNT_FOREIGN_KEY):
            raise UnauthorizedError from error


# Suffix of every foreign key that refers to an account, by the naming convention.
_ACCOUNT_FOREIGN_KEY = "_user_id_users"

# PostgreSQL manual, appendix A: connection exception, invalid authorization, invalid catalog name, transaction rollback
# (deadlocks), insufficient resources, lock_not_available, operator intervention (starting, stopping), query_canceled.
_OUTAGE_SQLSTATES = ("08", "28", "3D", "40", "53", "55P03", "57P", "57014")


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, DBAPIError | PostgresError):
        sqlstate = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None) or ""
        if getattr(error, "connection_invalidated", False) or sqlstate.startswith(_OUTAGE_SQLSTATES):
            return True
    # OSError and TimeoutError: a connection could not be opened.
    return isinstance(
        error, OperationalError | InterfaceError | DriverInterfaceError | PoolTimeoutError | OSError | TimeoutError
    )


def _replace_closed(connection: Any, _entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:  # noqa: ANN401 - an adapter of SQLAlchemy
    # A restarted PostgreSQL has closed its connections. asyncpg knows, so no test statement is needed (pre-ping).
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _terminate(connection: Any, _entry: ConnectionPoolEntry, _error: BaseException | None) -> None:  # noqa: ANN401 - an adapter of SQLAlchemy
    # Without this the pool would close the connection gracefully, and wait 2 s for a server that does not answer.
    connection.driver_connection.terminate()
