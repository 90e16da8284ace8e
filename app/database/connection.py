"""The way to PostgreSQL: one engine a process, and the only places that commit."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, cast

from asyncpg import InterfaceError as DriverInterfaceError
from asyncpg import PostgresError
from sqlalchemy import event, make_url, text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool
from sqlalchemy.util import greenlet_spawn

from app.config import DatabaseSettings
from app.core.exceptions import DatabaseUnavailableError, UnauthorizedError
from app.database.driver import DriverConnection, StatementRefusedError

DatabaseSession = AsyncSession
"""An open transaction, for the layers above that pass it on without knowing SQLAlchemy."""

DatabaseConnection = AsyncConnection
"""A connection on which each statement is a transaction of its own, likewise."""

REQUEST_TIMEOUT = 1.5
"""Seconds a request waits for its first answer from PostgreSQL before it is told to come back."""


def sync_url(database_url: str) -> URL:
    """Return the URL for psycopg2, which Alembic and the command line use."""
    return make_url(database_url).set(drivername="postgresql+psycopg2")


def async_url(database_url: str) -> tuple[URL, dict[str, Any]]:
    """Return the URL for asyncpg and the connect arguments for what asyncpg spells differently than libpq."""
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    arguments: dict[str, Any] = {}
    if sslmode := url.query.get("sslmode"):
        arguments["ssl"] = sslmode
        url = url.difference_update_query(["sslmode"])
    return url, arguments


class Database:
    """A pool of connections. Nothing is opened before the first use; `close()` ends it."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Wrap an engine; `from_settings` makes one."""
        self.engine = engine
        # The same pool, without BEGIN and COMMIT around a single statement.
        self._autocommit_engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._available_since: float | None = -math.inf
        """None: away."""

    @classmethod
    def from_settings(cls, settings: DatabaseSettings, *, application_name: str) -> Self:
        """Make the engine. `application_name` is what `pg_stat_activity` shows."""
        url, arguments = async_url(settings.DATABASE_URL)
        engine = create_async_engine(
            url,
            pool_size=settings.DATABASE_POOL_SIZE,
            max_overflow=settings.DATABASE_MAX_OVERFLOW,
            pool_timeout=settings.DATABASE_POOL_TIMEOUT,
            # They are messages, addresses and hashes; errors, and so logs, would repeat them.
            hide_parameters=True,
            connect_args={
                "timeout": settings.DATABASE_CONNECT_TIMEOUT,
                "command_timeout": settings.DATABASE_COMMAND_TIMEOUT,
                "server_settings": {
                    "application_name": application_name,
                    "timezone": "UTC",
                    # Statements here take milliseconds: compiling them to machine code costs more than it saves.
                    "jit": "off",
                    # The server gives up before its client: what nobody waits for any more must not be committed.
                    "lock_timeout": f"{REQUEST_TIMEOUT * 1000 - 300:.0f}",
                    "statement_timeout": f"{settings.DATABASE_COMMAND_TIMEOUT * 950:.0f}",
                },
                **arguments,
            },
        )
        event.listen(engine.sync_engine, "checkout", _replace_closed)
        event.listen(engine.sync_engine, "invalidate", _terminate)
        return cls(engine)

    @asynccontextmanager
    async def transaction(self, *, max_seconds: float | None = None) -> AsyncIterator[AsyncSession]:
        """Open a transaction that commits on leaving and rolls back on raising.

        `max_seconds` bounds the whole, the wait for a connection included.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away or too slow.

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
        """Open a session for a single statement that reads: without BEGIN and COMMIT it is one round trip.

        `max_seconds` bounds the whole, the wait for a connection included.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away or too slow.

        """
        with self._track_availability():
            async with asyncio.timeout(max_seconds), AsyncSession(self._autocommit_engine) as session:
                yield session

    @asynccontextmanager
    async def autocommit(self, *, max_seconds: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Open a connection on which each statement is a transaction of its own: one round trip instead of three.

        `max_seconds` bounds the whole, the wait for a connection included.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away or too slow.

        """
        with self._track_availability():
            async with asyncio.timeout(max_seconds), self._autocommit_engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def driver_connection(self, *, max_seconds: float | None = None) -> AsyncIterator[DriverConnection]:
        """Open a connection like `autocommit`, for statements that go to the driver as they are.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away or too slow.

        """
        with self._track_availability():
            async with asyncio.timeout(max_seconds):
                pooled = await self._connect()
                try:
                    yield cast("DriverConnection", pooled.driver_connection)
                except (PostgresError, StatementRefusedError):
                    raise  # PostgreSQL has answered: the connection is as good as before, or known to be closed
                except BaseException:
                    # It may be in the middle of a statement.
                    pooled.invalidate()
                    raise
                finally:
                    await self._release(pooled)

    async def _connect(self) -> PoolProxiedConnection:
        try:
            return await self.engine.raw_connection()
        except AsyncAdapt_asyncpg_dbapi.Error as error:
            # Refused: it is starting or stopping, or has no connection to spare. Elsewhere SQLAlchemy wraps this.
            raise DatabaseUnavailableError from error

    async def _release(self, pooled: PoolProxiedConnection) -> None:
        if cast("QueuePool", self.engine.pool).overflow() > 0:
            # The pool may close it, and waits for the server then. Cut short, it would count as lent for ever.
            await asyncio.shield(greenlet_spawn(pooled.close))
        else:
            pooled.close()

    def pool_stats(self) -> dict[str, int]:
        """Count the connections of this process: those in use, those that are free, and how many there may be."""
        pool = cast("QueuePool", self.engine.pool)
        return {"in_use": pool.checkedout(), "free": pool.checkedin(), "max": pool.size() + pool._max_overflow}  # noqa: SLF001 - it has no other name

    def seconds_since_recovery(self) -> float:
        """Tell how long PostgreSQL has answered without a break, as far as this process has seen. 0: it is away."""
        return 0.0 if self._available_since is None else time.monotonic() - self._available_since

    async def ping(self) -> None:
        """Ask PostgreSQL for the least there is.

        Raises:
            DatabaseUnavailableError: PostgreSQL is away or too slow.

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
    """Name the constraint that refused a write."""
    cause = error.orig.__cause__ if isinstance(error, IntegrityError) and error.orig else error
    name = getattr(cause, "constraint_name", None)
    return str(name) if name else None


class translate_driver_errors:  # noqa: N801 - used like a function
    """Turns what drivers raise when PostgreSQL is away, or the caller's account is, into what clients are told."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and _is_outage(error):
            raise DatabaseUnavailableError from error
        if error is not None and (violated_constraint(error) or "").endswith(_ACCOUNT_FOREIGN_KEY):
            raise UnauthorizedError from error


# By the naming convention, the end of every foreign key to an account: it was erased while the request was served.
_ACCOUNT_FOREIGN_KEY = "_user_id_users"

# PostgreSQL, appendix A: connection exception, refused login, unknown database, transaction rollback (a deadlock),
# insufficient resources, a lock not had in time, operator intervention (starting, stopping), a statement out of time.
_OUTAGE_SQLSTATES = ("08", "28", "3D", "40", "53", "55P03", "57P", "57014")


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, DBAPIError | PostgresError):
        sqlstate = getattr(error.orig if isinstance(error, DBAPIError) else error, "sqlstate", None) or ""
        if getattr(error, "connection_invalidated", False) or sqlstate.startswith(_OUTAGE_SQLSTATES):
            return True
    # The system's own errors come from opening a connection.
    return isinstance(
        error, OperationalError | InterfaceError | DriverInterfaceError | PoolTimeoutError | OSError | TimeoutError
    )


def _replace_closed(connection: Any, _entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:  # noqa: ANN401 - the driver's
    # A restarted PostgreSQL closes its connections, and asyncpg has noticed: no need to ask with a statement.
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _terminate(connection: Any, _entry: ConnectionPoolEntry, _error: BaseException | None) -> None:  # noqa: ANN401 - the driver's
    # The pool would say goodbye first, and wait 2 s for a server that no longer answers.
    connection.driver_connection.terminate()
