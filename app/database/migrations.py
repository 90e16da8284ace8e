"""Migrations: run them, and find out whether they have been run."""

import asyncio
import time
from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.core.exceptions import DatabaseUnavailableError, StartupError
from app.database.connection import Database, translated_errors

STARTUP_PATIENCE = 15.0
"""Seconds a starting process waits for PostgreSQL."""

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def alembic_config(database_url: str) -> Config:
    """Return Alembic's configuration for one database."""
    config = Config(toml_file=_PYPROJECT)
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str) -> None:
    """Bring the schema up to date. Safe to run twice at once: the second waits, then finds nothing to do.

    Raises:
        DatabaseUnavailableError: PostgreSQL is away, or a table stayed locked.

    """
    with translated_errors():
        command.upgrade(alembic_config(database_url), "head")


def find_drift(database_url: str) -> str | None:
    """Say how the tables differ from the models. None: they do not.

    Raises:
        DatabaseUnavailableError: PostgreSQL is away.

    """
    try:
        with translated_errors():
            command.check(alembic_config(database_url))
    except CommandError as error:
        return str(error)
    return None


@lru_cache
def needed_revision() -> str:
    """Name the revision that this code is made for."""
    return str(ScriptDirectory.from_config(Config(toml_file=_PYPROJECT)).get_current_head())


async def require_current_schema(database: Database) -> None:
    """Refuse to start on a schema that is behind this code. One that is ahead is fine: migrations expand first.

    Raises:
        StartupError: the schema is missing or behind.
        DatabaseUnavailableError: PostgreSQL does not answer.

    """
    head = needed_revision()
    current = await _current_revision(database)
    if current == head:
        return
    if current is not None:
        try:
            ScriptDirectory.from_config(Config(toml_file=_PYPROJECT)).get_revision(current)
        except CommandError:
            return  # unknown to this code, so newer than it
    raise StartupError(
        f"the database schema is at {current or 'nothing'}, this code needs {head}: run `python -m app.cli migrate`"
    )


async def wait_for_schema(database: Database) -> None:
    """Wait until PostgreSQL answers, `STARTUP_PATIENCE` seconds at most, and refuse a schema that is behind.

    Raises:
        StartupError: it does not answer, or the schema is missing or behind.

    """
    give_up = time.monotonic() + STARTUP_PATIENCE
    while True:
        try:
            await require_current_schema(database)
        except DatabaseUnavailableError:
            if time.monotonic() > give_up:
                raise StartupError("PostgreSQL does not answer, or refuses: see DATABASE_URL") from None
            await asyncio.sleep(0.3)
        else:
            return


async def _current_revision(database: Database) -> str | None:
    try:
        async with database.autocommit() as connection:
            revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
            return revision
    except ProgrammingError:
        return None  # no such table: never migrated
