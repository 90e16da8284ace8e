"""Translation of errors of SQLAlchemy and the drivers, where every transaction ends."""

from asyncpg import InterfaceError as DriverInterfaceError
from asyncpg import InternalClientError, PostgresError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.core.exceptions import DatabaseBusyError, DatabaseUnavailableError, StatementTimeoutError
from app.database.constraint_errors import translated

# PostgreSQL manual, appendix A: connection exception, invalid authorization, invalid catalog name, insufficient
# resources, operator intervention (starting, stopping).
_OUTAGE_SQLSTATES = ("08", "28", "3D", "53", "57P")
# Transaction rollback (deadlocks), lock_not_available: other requests change the same rows.
_BUSY_SQLSTATES = ("40", "55P03")
# query_canceled, by `statement_timeout` or an administrator.
_QUERY_CANCELED = "57014"


class translate_driver_errors:  # noqa: N801 - used like a function
    """Context manager that translates errors of SQLAlchemy and the drivers into errors of the application.

    Raises:
        StatementTimeoutError: PostgreSQL has cancelled a statement that took too long.
        DatabaseUnavailableError: PostgreSQL is unavailable or too slow.
        DatabaseBusyError: no connection or lock became free in time.
        UnauthorizedError: the caller's account was erased while the request was served.
        NotFoundError, ConflictError: another request deleted, or inserted first, what this one refers to.

    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and _sqlstate(error) == _QUERY_CANCELED:
            raise StatementTimeoutError from error
        if error is not None and _is_busy(error):
            raise DatabaseBusyError from error
        if error is not None and is_outage(error):
            raise DatabaseUnavailableError from error
        if error is not None and (known := translated(error)) is not None:
            raise known from error


def _sqlstate(error: BaseException) -> str:
    """Return the code of an error that PostgreSQL has reported; otherwise an empty text."""
    reported = error.orig if isinstance(error, DBAPIError) else error
    # The second is psycopg2's, which migrations use.
    return getattr(reported, "sqlstate", None) or getattr(reported, "pgcode", None) or ""


def _is_busy(error: BaseException) -> bool:
    if isinstance(error, DBAPIError | PostgresError):
        return _sqlstate(error).startswith(_BUSY_SQLSTATES)
    return isinstance(error, PoolTimeoutError)


def is_outage(error: BaseException) -> bool:
    """Return whether PostgreSQL cannot be reached, or has ended or refused the connection."""
    if isinstance(error, DBAPIError | PostgresError) and (
        getattr(error, "connection_invalidated", False) or _sqlstate(error).startswith(_OUTAGE_SQLSTATES)
    ):
        return True
    # InternalClientError: the server has ended the connection, and asyncpg has not noticed that yet.
    # OSError and TimeoutError: a connection could not be opened.
    return isinstance(
        error,
        OperationalError | InterfaceError | DriverInterfaceError | InternalClientError | OSError | TimeoutError,
    )
