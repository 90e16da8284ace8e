"""Statements that every request or every turn runs, executed on the driver itself.

SQLAlchemy writes them, once, and keeps the connections. What it does besides for every execution costs twice what the
driver does, and a turn has four of them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.elements import ClauseElement

if TYPE_CHECKING:
    import asyncpg

Row: TypeAlias = Mapping[str, Any]
"""Values by the names of their columns."""
DriverConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
AnyConnection: TypeAlias = "DriverConnection | AsyncConnection"
"""The driver's connection, or one of SQLAlchemy's, whose transaction the statement then joins."""

_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]


class StatementRefusedError(Exception):
    """What a repository says of its own once PostgreSQL has answered: the connection is as good as before."""


class Statement:
    """A statement as the driver takes it."""

    def __init__(self, statement: Executable) -> None:
        """Write it. A list for `IN` must be written out, as there is no telling how long it will be.

        Raises:
            TypeError: it is not.

        """
        self.core = statement
        assert isinstance(statement, ClauseElement)  # noqa: S101 - every statement is one
        compiled: Any = statement.compile(dialect=_DIALECT)
        self.sql = str(compiled)
        if "POSTCOMPILE" in self.sql:
            raise TypeError("the length of a list is not known")
        self._names: list[str] = compiled.positiontup
        self._constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        self._converters = {
            name: convert
            for name, bind in compiled.binds.items()
            if (convert := bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)) is not None
        }

    def arguments(self, parameters: Mapping[str, object]) -> list[object]:
        """Return the values in the order of their places in the statement."""
        values = {**self._constants, **parameters}
        for name, convert in self._converters.items():
            values[name] = convert(values[name])
        return [values[name] for name in self._names]


async def fetch(connection: AnyConnection, statement: Statement, parameters: Mapping[str, object]) -> Sequence[Row]:
    """Run a statement, and return its rows; none, where it gives none.

    Raises:
        sqlalchemy.exc.DBAPIError, asyncpg.PostgresError: PostgreSQL refused it.

    """
    if isinstance(connection, AsyncConnection):
        result = await connection.execute(statement.core, parameters)
        return [row._asdict() for row in result] if result.returns_rows else []
    return cast("Sequence[Row]", await connection.fetch(statement.sql, *statement.arguments(parameters)))


async def fetch_one(connection: AnyConnection, statement: Statement, parameters: Mapping[str, object]) -> Row | None:
    """Run a statement that has one row or none.

    Raises:
        sqlalchemy.exc.DBAPIError, asyncpg.PostgresError: as `fetch`.

    """
    rows = await fetch(connection, statement, parameters)
    return rows[0] if rows else None
