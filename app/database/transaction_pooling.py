"""asyncpg behind a pooler that gives each transaction its own server connection, such as PgBouncer in transaction mode.

Between two transactions, anything that belongs to the session of PostgreSQL may be gone or belong to another client:
prepared statements, and settings such as timeouts. asyncpg sends a statement and its parameters in two exchanges, which
must therefore be in one transaction.
"""

from collections.abc import Mapping
from typing import Any

import asyncpg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext


def pooled_arguments(settings: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of `asyncpg.connect` for such a pooler.

    `settings`: parameters of the server that apply to every transaction; `application_name` and `timezone`, which
    poolers keep for each client, are sent with the connection.
    """
    tracked = {name: value for name, value in settings.items() if name in _TRACKED_PARAMETERS}
    local = "".join(f" SET LOCAL {name} = '{value}';" for name, value in settings.items() if name not in tracked)

    class TransactionConnection(asyncpg.Connection):  # type: ignore[misc]
        """Connection whose every statement is in a transaction, with the settings."""

        async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - as the base class
            """Execute a statement; see the base class. A `BEGIN` also applies the settings, in one exchange."""
            if not args and query.startswith("BEGIN"):
                query += local
            return str(await super().execute(query, *args, timeout=timeout))

        async def _execute(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as the base class
            if self.is_in_transaction():
                return await super()._execute(*args, **options)
            async with self.transaction():
                return await super()._execute(*args, **options)

    return {
        "connection_class": TransactionConnection,
        "server_settings": tracked,
        # Unnamed statements: those with a name would remain at the server connection, and may exist there already.
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        "prepared_statement_name_func": lambda: "",
    }


_TRACKED_PARAMETERS = frozenset({"application_name", "timezone"})


def commit_each_statement(engine: Engine) -> None:
    """Commit after each statement of an engine, as autocommit does, but with a transaction around the statement."""

    @event.listens_for(engine, "after_cursor_execute")
    def commit(connection: Connection, *_arguments: object) -> None:
        connection.connection.commit()

    @event.listens_for(engine, "handle_error")
    def roll_back(context: ExceptionContext) -> None:
        # Listeners of errors are shared with the engine that this one is derived from.
        connection = context.connection
        if connection is not None and connection.engine is engine and not context.is_disconnect:
            connection.connection.rollback()
