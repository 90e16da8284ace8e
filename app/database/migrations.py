"""Migrations: run them, and find out whether they have been run."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.core.exceptions import StartupError
from app.database.connection import Database

_ALEMBIC_INI = Path(__file__).parents[2] / "alembic.ini"


def alembic_config(database_url: str) -> Config:
    """Return Alembic's configuration for one database."""
    config = Config(_ALEMBIC_INI)
    config.attributes["database_url"] = database_url
    return config


def upgrade(database_url: str) -> None:
    """Bring the schema up to date. Safe to run twice at once: the second waits, then finds nothing to do."""
    command.upgrade(alembic_config(database_url), "head")


def check(database_url: str) -> None:
    """Compare the tables with the models.

    Raises:
        alembic.util.CommandError: they differ, or the database is not up to date.

    """
    command.check(alembic_config(database_url))


async def require_current_schema(database: Database) -> None:
    """Refuse to start on a schema that is behind this code. One that is ahead is fine: migrations expand first.

    Raises:
        StartupError: the schema is missing or behind.
        DatabaseUnavailableError: PostgreSQL does not answer.

    """
    scripts = ScriptDirectory.from_config(Config(_ALEMBIC_INI))
    head = scripts.get_current_head()
    current = await _current_revision(database)
    if current == head:
        return
    if current is not None:
        try:
            scripts.get_revision(current)
        except CommandError:
            return  # unknown to this code, so newer than it
    msg = f"the database schema is at {current or 'nothing'}, this code needs {head}: run `python -m app.cli migrate`"
    raise StartupError(msg)


async def _current_revision(database: Database) -> str | None:
    try:
        async with database.autocommit() as connection:
            revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
            return revision
    except ProgrammingError:
        return None  # no such table: never migrated
