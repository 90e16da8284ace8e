"""Execution of precompiled statements on the asyncpg connection, for the hot path.

SQLAlchemy compiles each statement once and manages the connections. Its own work for each execution takes twice as
much CPU time as the driver's, and a turn executes four statements.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from asyncpg import DeadlockDetectedError, SerializationError
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ClauseElement

from app.observability.tracing import statement_span

if TYPE_CHECKING:
    import asyncpg

Row: TypeAlias = Mapping[str, Any]
"""Values by column name."""
DriverConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
AnyConnection: TypeAlias = "DriverConnection | AsyncConnection"
"""A connection of asyncpg, or one of SQLAlchemy whose transaction the statement joins."""

_MAX_ATTEMPTS: Final = 3
"""How often a statement is executed that PostgreSQL rolls back because of concurrent ones."""
_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]


class StatementRefusedError(Exception):
    """Base of errors that a repository raises after PostgreSQL has answered: the connection stays usable."""


class Statement:
    """A statement compiled for asyncpg."""

    def __init__(self, statement: Executable) -> None:
        """Compile a statement. It must not have an expanding `IN` list, whose length is unknown before execution.

        Raises:
            TypeError: it has one.

        """
        self.core = statement
        assert isinstance(statement, ClauseElement)  # noqa: S101 - narrows the type; every statement is one
        compiled: Any = statement.compile(dialect=_DIALECT)
        self.sql = str(compiled)
        if "POSTCOMPILE" in self.sql:
            raise TypeError("expanding IN lists are not supported: use = any(array)")
        self._names: list[str] = compiled.positiontup
        self._constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._converters = {
            name: convert
            for name, bind in compiled.binds.items()
            if (convert := bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)) is not None
        }

    def arguments(self, parameters: Mapping[str, object]) -> list[object]:
        """Return the values for the placeholders $1, $2, ... of the statement, in their order."""
        values = {**self._constants, **parameters}
        for name, convert in self._converters.items():
            values[name] = convert(values[name])
        return [values[name] for name in self._names]


async def fetch(connection: AnyConnection, statement: Statement, parameters: Mapping[str, object]) -> Sequence[Row]:
    """Execute a statement and return its rows.

    On a connection of asyncpg, where it is a transaction of its own, it is repeated after a deadlock.

    Raises:
        sqlalchemy.exc.DBAPIError, asyncpg.PostgresError: PostgreSQL reported an error.

    """
    if isinstance(connection, AsyncConnection):
        result = await connection.execute(statement.core, parameters)
        return [row._asdict() for row in result] if result.returns_rows else []
    arguments = statement.arguments(parameters)
    with statement_span(statement.sql):
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return cast("Sequence[Row]", await connection.fetch(statement.sql, *arguments))
            except (DeadlockDetectedError, SerializationError):
                if connection.is_in_transaction():
                    raise
        return cast("Sequence[Row]", await connection.fetch(statement.sql, *arguments))


async def fetch_one(connection: AnyConnection, statement: Statement, parameters: Mapping[str, object]) -> Row | None:
    """Execute a statement that returns at most one row. None: it returned none.

    Raises:
        sqlalchemy.exc.DBAPIError, asyncpg.PostgresError: as `fetch`.

    """
    rows = await fetch(connection, statement, parameters)
    return rows[0] if rows else None
