"""Alembic environment: runs migrations with psycopg2, in one process at a time."""

import time

from alembic import context
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from app.config import get_migration_url
from app.database.base import Base
from app.database.drivers import sync_engine
from app.database.models import User  # noqa: F401 - registers every table

# Key of the advisory lock: an arbitrary number that nothing else in the database uses.
ADVISORY_LOCK = 7_102_026
MAX_LOCK_WAIT = 600.0
"""Seconds to wait for another run. A backfill may take minutes."""


def number_revision(_context: MigrationContext, _revision: object, directives: list[MigrationScript]) -> None:
    """Give a new revision the number after the newest one."""
    heads = ScriptDirectory.from_config(context.config).get_heads()
    directives[0].rev_id = f"{max(map(int, heads), default=0) + 1:04}"


def wait_for_lock(connection: Connection) -> None:
    """Take the advisory lock.

    It is polled: a statement that waits for the lock would block `CREATE INDEX CONCURRENTLY` of the run that holds it.

    Raises:
        TimeoutError: another run has held it for `MAX_LOCK_WAIT` seconds.

    """
    deadline = time.monotonic() + MAX_LOCK_WAIT
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}):
        connection.commit()
        if time.monotonic() > deadline:
            raise TimeoutError("another migration is running")
        time.sleep(0.2)


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
    wait_for_lock(connection)
    # A migration that waits for a table blocks all later statements on it, so it fails after a short time.
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.commit()
    with context.begin_transaction():
        context.run_migrations()


url = context.config.attributes.get("database_url") or get_migration_url()
engine = sync_engine(url)
with engine.connect() as open_connection:
    run(open_connection)
engine.dispose()
