"""Alembic environment: runs migrations with psycopg2, in one process at a time."""

import time

from alembic import context
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from app.config import get_database_settings
from app.database.base import Base
from app.database.connection import sync_url
from app.database.models import User  # noqa: F401 - registers every table

# Key of the advisory lock: an arbitrary number that nothing else in the database uses.
ADVISORY_LOCK = 7_102_026
_LOCK_TIMEOUT = 60.0
_LOCK_INTERVAL = 0.2


def number_revision(_context: MigrationContext, _revision: object, directives: list[MigrationScript]) -> None:
    """Give a new revision the number after the newest one."""
    heads = ScriptDirectory.from_config(context.config).get_heads()
    directives[0].rev_id = f"{max(map(int, heads), default=0) + 1:04}"


def _wait_for_lock(connection: Connection) -> None:
    """Take the advisory lock. It is polled: CREATE INDEX CONCURRENTLY waits for statements that wait for the lock.

    Raises:
        TimeoutError: another run holds the lock for too long.

    """
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}):
        connection.commit()
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(_LOCK_INTERVAL)


def run(connection: Connection) -> None:
    """Run the migrations, each in a transaction, under an advisory lock that concurrent runs wait for.

    The lock belongs to the session of PostgreSQL: a migration may commit in between, as long backfills do.
    """
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_server_default=True,
        process_revision_directives=number_revision,
        transaction_per_migration=True,
    )
    _wait_for_lock(connection)
    # A migration that waits for a table blocks all later statements on it, so it fails after a short time.
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.commit()
    with context.begin_transaction():
        context.run_migrations()


url = context.config.attributes.get("database_url") or get_database_settings().DATABASE_URL
engine = create_engine(sync_url(url), connect_args={"connect_timeout": 5})
with engine.connect() as open_connection:
    run(open_connection)
engine.dispose()
