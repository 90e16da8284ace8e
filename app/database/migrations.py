"""Schema migrations with Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from app.database.driver_errors import translate_driver_errors

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
