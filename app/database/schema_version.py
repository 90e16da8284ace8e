"""Version of the database schema, checked by each process at startup.

Without Alembic, whose import takes a tenth of a service's start: the names of the migrations' files hold the revisions.
"""

from functools import lru_cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.core.exceptions import DatabaseUnavailableError, StartupError
from app.database.connection import Database
from app.database.retry_until_available import retry_until_available

STARTUP_TIMEOUT = 15.0
"""Time that a starting process waits for PostgreSQL, in seconds."""
_STARTUP_RETRY_INTERVAL = 0.3

_VERSIONS = Path(__file__).parents[2] / "alembic" / "versions"


@lru_cache
def known_revisions() -> tuple[str, ...]:
    """Return the revisions that this code knows, the oldest first."""
    # <date>_<revision>_<title>.py
    return tuple(sorted(path.stem.split("_", 2)[1] for path in _VERSIONS.glob("*_*_*.py")))


def needed_revision() -> str:
    """Return the newest revision that this code knows."""
    return known_revisions()[-1]


async def require_current_schema(database: Database) -> None:
    """Check that the schema is not older than this code. A newer one is accepted: migrations expand first.

    Raises:
        StartupError: the schema is missing or older.
        DatabaseUnavailableError: PostgreSQL is unavailable.

    """
    needed, current = needed_revision(), await _current_revision(database)
    if current == needed or (current is not None and current not in known_revisions()):
        return  # an unknown revision is newer
    found = f"is at revision {current}" if current else "has no revision"
    raise StartupError(f"the database schema {found}, this code needs {needed}: run `python -m app.cli migrate`")


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
