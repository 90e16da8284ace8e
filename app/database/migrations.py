"""Schema migrations with Alembic, and the check of the schema at startup."""

from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.core.exceptions import DatabaseUnavailableError, StartupError
from app.database.connection import Database, translate_driver_errors
from app.database.retry_until_available import retry_until_available

STARTUP_TIMEOUT = 15.0
"""Time that a starting process waits for PostgreSQL, in seconds."""
_STARTUP_RETRY_INTERVAL = 0.3

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def alembic_config(database_url: str) -> Config:
    """Return the configuration of Alembic for a database."""
    config = Config(toml_file=_PYPROJECT)
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str) -> None:
    """Upgrade the schema to the newest revision. Of concurrent runs, one migrates and the others wait for it.

    Raises:
        DatabaseUnavailableError: PostgreSQL is unavailable, or a table stayed locked.

    """
    with translate_driver_errors():
        command.upgrade(alembic_config(database_url), "head")


def find_drift(database_url: str) -> str | None:
    """Return how the tables differ from the models. None: they do not differ.

    Raises:
        DatabaseUnavailableError: PostgreSQL is unavailable.

    """
    try:
        with translate_driver_errors():
            command.check(alembic_config(database_url))
    except CommandError as error:
        return str(error)
    return None


@lru_cache
def needed_revision() -> str:
    """Return the newest revision that this code knows."""
    return str(ScriptDirectory.from_config(Config(toml_file=_PYPROJECT)).get_current_head())


async def require_current_schema(database: Database) -> None:
    """Check that the schema is not older than this code. A newer one is accepted: migrations expand first.

    Raises:
        StartupError: the schema is missing or older.
        DatabaseUnavailableError: PostgreSQL is unavailable.

    """
    head = needed_revision()
    current = await _current_revision(database)
    if current == head:
        return
    if current is not None:
        try:
            ScriptDirectory.from_config(Config(toml_file=_PYPROJECT)).get_revision(current)
        except CommandError:
            return  # unknown to this code, so it is newer
    found = f"is at revision {current}" if current else "has no revision"
    raise StartupError(f"the database schema {found}, this code needs {head}: run `python -m app.cli migrate`")


async def wait_for_schema(database: Database) -> None:
    """Wait until PostgreSQL is available, at most `STARTUP_TIMEOUT` seconds, and check its schema.

    Raises:
        StartupError: PostgreSQL is unavailable, or the schema is missing or older than this code.

    """
    try:
        await retry_until_available(
            lambda: require_current_schema(database), max_seconds=STARTUP_TIMEOUT, interval=_STARTUP_RETRY_INTERVAL
        )
    except DatabaseUnavailableError:
        raise StartupError("PostgreSQL is unreachable or refuses the connection: check DATABASE_URL") from None


async def _current_revision(database: Database) -> str | None:
    try:
        async with database.autocommit() as connection:
            revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
            return revision
    except ProgrammingError:
        return None  # no such table: the database was never migrated
