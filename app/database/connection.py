"""Connection pool for PostgreSQL, and transactions."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self, cast

import asyncpg
from asyncpg import PostgresError
from sqlalchemy import event, text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi
from sqlalchemy.exc import DisconnectionError, MissingGreenlet
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool
from sqlalchemy.util.concurrency import greenlet_spawn, in_greenlet

from app.config import DatabaseSettings
from app.core.exceptions import DatabaseBusyError, DatabaseUnavailableError, StatementTimeoutError
from app.database.driver_errors import is_outage, translate_driver_errors
from app.database.drivers import asyncpg_arguments
from app.database.statements import DriverConnection, StatementRefusedError
from app.database.tracing import trace_statements
from app.database.transaction_pooling import commit_each_statement, pooled_arguments
from app.observability import tracing

DatabaseSession = AsyncSession
"""An open transaction. Layers above pass it on under this name, without importing SQLAlchemy."""

DatabaseConnection = AsyncConnection
"""A connection on which each statement is its own transaction, under a name for the layers above."""

REQUEST_TIMEOUT = 1.5
"""Time a request waits for PostgreSQL before it fails with 503, in seconds."""
_MAX_POOL_TIMEOUT = 1.0
"""Maximum time to wait for a free connection of the pool, in seconds. It is less than `REQUEST_TIMEOUT`, so that a
longer wait for a connection means that PostgreSQL does not accept a new one."""

_DOWNLOAD_READS = 8
"""Maximum number of connections that downloads use together, because admission does not limit them."""
_MAX_DELAY = 0.1
"""Time by which a timeout may be noticed late and still count as one of PostgreSQL, in seconds."""
_MAX_LATE_SECONDS = 5.0
"""Time in which timeouts that are noticed late do not count as an outage, in seconds."""
_SHORT_WAIT = 0.01
"""Wait for a connection in seconds that does not extend the deadline, because every operation would pay for that."""


class Database:
    """A connection pool. The first use opens a connection; `close()` closes all of them."""

    def __init__(self, engine: AsyncEngine, *, has_transaction_pooler: bool = False) -> None:
        """Wrap an engine, as `from_settings` creates it. `has_transaction_pooler`: see `transaction_pooling`."""
        self.engine = engine
        if has_transaction_pooler:
            self._autocommit_engine = engine.execution_options()
            commit_each_statement(self._autocommit_engine.sync_engine)
        else:
            # The same pool, without BEGIN and COMMIT around a single statement.
            self._autocommit_engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.download_reads = asyncio.Semaphore(_DOWNLOAD_READS)
        """Held by downloads while they read: their requests give their places back when the response begins."""
        self._available_since: float | None = -math.inf
        """Time of `time.monotonic` since which PostgreSQL has answered. None: it is unavailable."""
        self._succeeded_at = -math.inf
        """Time of the last operation that succeeded."""
        self._late_since: float | None = None
        """Time of the first timeout that was noticed late, since the last success."""

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
        } | arguments["server_settings"]
        has_transaction_pooler = settings.DATABASE_POOL_MODE == "transaction"
        arguments["server_settings"] = server_settings
        if has_transaction_pooler:
            arguments |= pooled_arguments(server_settings)
        engine = create_async_engine(
            "postgresql+asyncpg://",
            pool_size=settings.DATABASE_POOL_SIZE,
            max_overflow=settings.DATABASE_MAX_OVERFLOW,
            pool_timeout=min(settings.DATABASE_POOL_TIMEOUT, _MAX_POOL_TIMEOUT),
            # Parameters hold messages, addresses and hashes, which must not appear in error messages and logs.
            hide_parameters=True,
            connect_args={
                "async_creator_fn": _open_connection,
                "timeout": settings.DATABASE_CONNECT_TIMEOUT,
                "command_timeout": settings.DATABASE_COMMAND_TIMEOUT,
                **arguments,
            },
        )
        if tracing.is_active():
            trace_statements(engine.sync_engine)
        event.listen(engine.sync_engine, "checkout", _replace_closed)
        event.listen(engine.sync_engine, "invalidate", _terminate)
        return cls(engine, has_transaction_pooler=has_transaction_pooler)

    @asynccontextmanager
    async def transaction(self, *, max_seconds: float | None = None) -> AsyncIterator[AsyncSession]:
        """Open a transaction. It commits when the block ends and rolls back when the block raises.

        `max_seconds` bounds the whole block, from the moment when it has a connection, and then the commit. Without it,
        the transaction takes a connection at its first statement.

        Raises:
            DatabaseUnavailableError: PostgreSQL is unavailable or too slow.
            DatabaseBusyError: no connection or lock became free in time.

        """
        with self._track_availability() as delay:
            async with (
                asyncio.timeout(max_seconds) as deadline,
                AsyncSession(self.engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                if max_seconds is not None:
                    _ = await session.connection()
                    _restart(deadline, max_seconds)
                with delay.measured(deadline):
                    yield session
                # Nothing is left to wait for except the commit. If that were cut short, the client would be told to
                # try again although it may have succeeded.
                _restart(deadline, max_seconds)

    @asynccontextmanager
    async def read_only(self, *, max_seconds: float | None = None) -> AsyncIterator[AsyncSession]:
        """Open a session for one reading statement. It takes one round trip, without BEGIN and COMMIT.

        `max_seconds` and errors are those of `transaction`.
        """
        with self._track_availability() as delay:
            async with asyncio.timeout(max_seconds) as deadline, AsyncSession(self._autocommit_engine) as session:
                if max_seconds is not None:
                    _ = await session.connection()
                    _restart(deadline, max_seconds)
                with delay.measured(deadline):
                    yield session

    @asynccontextmanager
    async def autocommit(self, *, max_seconds: float | None = None) -> AsyncIterator[AsyncConnection]:
        """Open a connection on which each statement is its own transaction: one round trip instead of three.

        `max_seconds` and errors are those of `transaction`.
        """
        with self._track_availability() as delay:
            async with asyncio.timeout(max_seconds) as deadline, self._autocommit_engine.connect() as connection:
                _restart(deadline, max_seconds)
                with delay.measured(deadline):
                    yield connection

    @asynccontextmanager
    async def driver_connection(self, *, max_seconds: float | None = None) -> AsyncIterator[DriverConnection]:
        """Open a connection like `autocommit`, but the asyncpg connection itself, for `app.database.statements`.

        `max_seconds` and errors are those of `transaction`.
        """
        with self._track_availability() as delay:
            async with asyncio.timeout(max_seconds) as deadline:
                pooled = await self._connect()
                _restart(deadline, max_seconds)
                try:
                    with delay.measured(deadline):
                        yield cast("DriverConnection", pooled.driver_connection)
                except BaseException as error:
                    # After an answer of PostgreSQL the connection is usable, unless the answer has ended it. After
                    # anything else, it may be in the middle of a statement.
                    if not isinstance(error, PostgresError | StatementRefusedError) or is_outage(error):
                        pooled.invalidate()
                    raise
                finally:
                    await self._release(pooled)

    async def _connect(self) -> PoolProxiedConnection:
        try:
            if cast("QueuePool", self.engine.pool).checkedin():
                # Without a greenlet, which costs twice as much as the rest. It is needed only for waiting: here, if the
                # free connection has been closed, and another one has to be opened.
                with suppress(MissingGreenlet):
                    return self.engine.sync_engine.raw_connection()
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
    def _track_availability(self) -> Iterator["_TimeoutDelay"]:
        started = time.monotonic()
        delay = _TimeoutDelay()
        try:
            with translate_driver_errors():
                yield delay
        except (DatabaseBusyError, StatementTimeoutError):
            raise  # PostgreSQL responds
        except DatabaseUnavailableError as error:
            if isinstance(error.__cause__, TimeoutError) and (
                self._succeeded_at > started or self._is_own_delay(delay.seconds)
            ):
                # PostgreSQL responds to others: this operation waited for a lock, or for its turn in this process.
                raise DatabaseBusyError from error
            self._available_since = None
            raise
        self._late_since = None
        self._succeeded_at = time.monotonic()
        if self._available_since is None:
            self._available_since = self._succeeded_at

    def _is_own_delay(self, seconds: float) -> bool:
        """Return whether a timeout was noticed so late that this process, not PostgreSQL, may have caused it."""
        if seconds < _MAX_DELAY:
            return False
        now = time.monotonic()
        if self._late_since is None:
            self._late_since = now
        return now < self._late_since + _MAX_LATE_SECONDS


class _TimeoutDelay:
    """Time by which the process noticed an expired timeout late, because it was busy or did not get the processor."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def measured(self, deadline: asyncio.Timeout) -> Iterator[None]:
        """Measure it where the timeout ends the block, because rolling back may take time, too."""
        try:
            yield
        except asyncio.CancelledError:
            if (expired_at := deadline.when()) is not None:
                self.seconds = asyncio.get_running_loop().time() - expired_at
            raise


def _restart(deadline: asyncio.Timeout, max_seconds: float | None) -> None:
    """Let a deadline begin now, so that what was waited for before does not cut the rest short."""
    if max_seconds is None or deadline.expired():
        return
    expires_at = asyncio.get_running_loop().time() + max_seconds
    if expires_at - (deadline.when() or 0) > _SHORT_WAIT:
        deadline.reschedule(expires_at)


def _open_connection(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
    if not in_greenlet():
        raise MissingGreenlet  # before there is a coroutine that nobody would await
    return asyncpg.connect(*arguments, **options)


def _replace_closed(connection: Any, _entry: ConnectionPoolEntry, _proxy: PoolProxiedConnection) -> None:  # noqa: ANN401 - an adapter of SQLAlchemy
    # A restarted PostgreSQL has closed its connections. asyncpg knows, so no test statement is needed (pre-ping).
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _terminate(connection: Any, _entry: ConnectionPoolEntry, _error: BaseException | None) -> None:  # noqa: ANN401 - an adapter of SQLAlchemy
    # Without this the pool would close the connection gracefully, and wait 2 s for a server that does not answer.
    connection.driver_connection.terminate()
